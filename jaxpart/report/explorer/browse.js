// Images to choose from, by name and by part.

const PAGE = 24;
let page = 0;

function drawImages(state) {
  const set = state.current;
  const found = state.found;
  const current = set.image[state.patch];
  page = Math.min(page, Math.max(0, Math.ceil(found.length / PAGE) - 1));
  const shown = found.slice(page * PAGE, (page + 1) * PAGE);
  byId("images").replaceChildren(
    ...shown.map((image) => {
      const pixels = show(element("span", { className: "pixels" }), set.pictures, image, 48);
      const button = element("button", { type: "button", className: "image", title: set.images[image] }, pixels);
      button.setAttribute("aria-pressed", image === current);
      button.addEventListener("click", () => state.change({ patch: state.first(image) }));
      return label(button, set.images[image]);
    }),
  );
  const from = page * PAGE + 1;
  byId("found").textContent = found.length
    ? `${from}–${from + shown.length - 1} of ${found.length.toLocaleString("en")} images`
    : "No matching image.";
  byId("before").disabled = page === 0;
  byId("after").disabled = (page + 1) * PAGE >= found.length;
}

// Shows the page of the list that the query's image is on.
function turnToQuery(state) {
  const place = state.found.indexOf(state.current.image[state.patch]);
  if (place >= 0) page = Math.floor(place / PAGE);
}

function connectBrowse(state) {
  byId("text").addEventListener("input", () => {
    page = 0;
    state.change({ text: byId("text").value });
  });
  byId("part").addEventListener("change", () => {
    page = 0;
    const part = Number(byId("part").value);
    state.part = part;
    const image = state.found[0];
    const fits = part < 0 || state.current.part[state.patch] === part;
    state.change(fits || image === undefined ? {} : { patch: state.first(image) });
  });
  for (const [id, step] of [["before", -1], ["after", 1]]) {
    byId(id).addEventListener("click", () => {
      page += step;
      drawImages(state);
    });
  }
}

function drawSearch(state) {
  const set = state.current;
  options(byId("part"), [["-1", "all"], ...set.parts.map((name, i) => [String(i), name])], String(state.part));
  byId("partlabel").hidden = !set.named;
  if (byId("text").value !== state.text) byId("text").value = state.text;
}

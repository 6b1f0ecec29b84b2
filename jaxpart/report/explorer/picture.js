// The query's image, with its patches to click on.

const SVG = "http://www.w3.org/2000/svg";

function svgElement(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Of the patches that contain a point (relative to the image's sides), the one whose centre is nearest
// relative to the patch's own sides, so that each of several overlapping patches can be reached.
function patchAt(set, image, x, y) {
  let nearest;
  let least = 0.5;
  for (const patch of set.of[image]) {
    const [left, top, right, bottom] = set.box.slice(4 * patch, 4 * patch + 4);
    const across = Math.abs(x - (left + right) / 2) / (right - left);
    const down = Math.abs(y - (top + bottom) / 2) / (bottom - top);
    if (Math.max(across, down) <= least) {
      least = Math.max(across, down);
      nearest = patch;
    }
  }
  return nearest;
}

function drawPicture(state) {
  const set = state.current;
  const image = set.image[state.patch];
  const { sheet, x, y, width, height } = set.pictures.place(image);
  const focused = byId("picture").contains(document.activeElement);
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, role: "group" });
  label(svg, `Patches of ${set.images[image]}`);
  const frame = svgElement("svg", { width, height }); // its edges hide the rest of the sheet
  const across = set.pictures.columns * set.pictures.cell;
  frame.append(svgElement("image", { href: set.pictures.url(sheet), x: -x, y: -y, width: across }));
  svg.append(frame);
  const rects = new Map();
  for (const patch of set.of[image]) {
    const [left, top, right, bottom] = set.box.slice(4 * patch, 4 * patch + 4);
    const isQuery = patch === state.patch;
    const rect = svgElement("rect", {
      class: isQuery ? "patch query" : "patch",
      x: left * width,
      y: top * height,
      width: (right - left) * width,
      height: (bottom - top) * height,
      role: "button",
      tabindex: isQuery ? 0 : -1,
      "aria-pressed": isQuery,
      "aria-label": `patch ${set.label(patch)}`,
      "data-patch": patch,
    });
    rects.set(patch, rect);
  }
  const chosen = rects.get(state.patch);
  rects.delete(state.patch);
  svg.append(...rects.values(), chosen); // the query's outline lies on top
  const under = (event) => {
    const { a, d, e, f } = svg.getScreenCTM();
    return patchAt(set, image, (event.clientX - e) / a / width, (event.clientY - f) / d / height);
  };
  svg.addEventListener("click", (event) => {
    const patch = under(event);
    if (patch !== undefined) state.change({ patch });
  });
  svg.addEventListener("pointermove", (event) => {
    const patch = under(event);
    for (const [other, rect] of rects) rect.classList.toggle("pointed", other === patch);
  });
  byId("picture").replaceChildren(svg);
  if (focused) chosen.focus();
  showPatch(byId("thumbnail"), set, state.patch, 64);
  const facts = [
    [set.named ? "Part" : "Window", set.label(state.patch)],
    ["Image", set.images[image]],
  ];
  byId("facts").replaceChildren(
    ...facts.flatMap(([name, value]) => [
      element("dt", { textContent: name }),
      element("dd", { textContent: value, title: value }),
    ]),
  );
}

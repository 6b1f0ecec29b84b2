// Columns of nearest patches, one for each encoder and representation.

function tile(set, near, rank, state) {
  const kind = near.right === null ? "plain" : near.right ? "right" : "wrong";
  const name = set.label(near.patch);
  const image = set.images[set.image[near.patch]];
  const file = image.split("/").pop();
  const picture = showPatch(element("span", { className: "pixels" }), set, near.patch, 64);
  const mark = { right: "✓", wrong: "✗", plain: "" }[kind];
  const button = element(
    "button",
    { type: "button", className: `tile ${kind}`, tabIndex: rank ? -1 : 0 },
    element("span", { className: "frame" }, picture, element("span", { className: "mark", textContent: mark })),
    element("span", { className: "name", textContent: set.named ? name : file }),
    element("span", { className: "similarity", textContent: near.similarity.toFixed(3) }),
  );
  const verdict = { right: ", same part", wrong: ", another part", plain: "" }[kind];
  label(
    button,
    `${rank + 1}: ${name}${verdict}, similarity ${near.similarity.toFixed(3)}, ${image}`,
  );
  button.title = `${name} of ${image}`;
  button.addEventListener("click", () => state.change({ patch: near.patch }));
  return button;
}

// Arrow keys move between the tiles of a column, which is a single tab stop.
function rove(list) {
  list.addEventListener("keydown", (event) => {
    const tiles = [...list.querySelectorAll(".tile")];
    const at = tiles.indexOf(document.activeElement);
    const row = tiles.filter((one) => one.offsetTop === tiles[0].offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
    if (at < 0 || !step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = tiles[Math.min(Math.max(at + step, 0), tiles.length - 1)];
    tiles[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function pane(state, column) {
  const set = state.current;
  const number = state.pairs[column];
  const pair = set.pairs[number];
  const near = set.nearest(number, state.patch);
  const right = near.filter((one) => one.right).length;
  const ap = set.ap(number, state.patch);
  const select = label(element("select"), `Encoder and representation of column ${column + 1}`);
  options(select, set.pairs.map((one, i) => [String(i), one.name]), String(number));
  select.addEventListener("change", () => {
    state.change({ pairs: state.pairs.with(column, Number(select.value)) });
    byId("panes").querySelectorAll("select")[column].focus();
  });
  const remove = label(element("button", { type: "button", className: "remove", textContent: "×" }), `Remove column ${column + 1}`);
  remove.disabled = state.pairs.length < 2;
  remove.addEventListener("click", () => state.change({ pairs: state.pairs.toSpliced(column, 1) }));
  const list = element("ol", {}, ...near.map((one, rank) => element("li", {}, tile(set, one, rank, state))));
  rove(list);
  const facts = element("p", { className: "score" });
  if (ap !== null) facts.append(element("b", { textContent: `query AP ${percent(ap)}` }), ` mean AP ${percent(pair.meanAp)}`);
  if (set.named) facts.append(element("span", { textContent: `${right} of ${near.length} right` }));
  const article = element(
    "article",
    { className: "pane" },
    element("div", { className: "head" }, select, remove),
    pair.caveat ? element("p", { className: "caveat", textContent: pair.caveat }) : null,
    set.named ? facts : null,
    near.length ? list : element("p", { className: "quiet", textContent: "There is no other patch." }),
  );
  return label(article, pair.name);
}

function drawPanes(state) {
  const set = state.current;
  // After a neighbour is chosen by keyboard, the focus stays in its column.
  const active = document.activeElement;
  const column = [...byId("panes").children].findIndex((one) => one.contains(active));
  byId("panes").replaceChildren(...state.pairs.map((_, i) => pane(state, i)));
  if (active.matches(".tile")) focusColumn(column);
  byId("panes").dataset.columns = state.pairs.length;
  byId("add").disabled = state.pairs.length >= Math.min(COLUMNS, Math.max(set.pairs.length, 1));
  byId("legend").dataset.kind = set.kind;
  const [shown, all] = [set.size, set.available].map((count) => count.toLocaleString("en"));
  byId("shown").textContent = `among ${shown === all ? "all" : `${shown} of`} ${all} patches`;
  const scores = state.pairs.map((pair) => {
    const ap = set.ap(pair, state.patch);
    return `${set.pairs[pair].name}${ap === null ? "" : `, AP ${percent(ap)}`}`;
  });
  byId("status").textContent = `Query: ${set.label(state.patch)}. ${scores.join("; ")}`;
}

function focusColumn(column) {
  byId("panes").children[column]?.querySelector(".tile")?.focus({ preventScroll: true });
}

function addPane(state) {
  const unused = state.current.pairs.findIndex((_, pair) => !state.pairs.includes(pair));
  if (state.pairs.length < COLUMNS && unused >= 0) state.change({ pairs: [...state.pairs, unused] });
}

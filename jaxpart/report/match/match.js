// A patch of one image, and the cosine similarity of every patch of another to it.

// Matplotlib's viridis at equal steps.
const COLOURS = [
  [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
  [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
];

function colour(share) {
  const position = Math.min(Math.max(share, 0), 1) * (COLOURS.length - 1);
  const below = Math.min(Math.floor(position), COLOURS.length - 2);
  return COLOURS[below].map((value, i) => value + (position - below) * (COLOURS[below + 1][i] - value));
}

// An encoder's patch tokens as bytes; only a token's direction has meaning, not its length.
class Model {
  constructor(raw) {
    Object.assign(this, raw);
    this.tokens = numbers(raw.tokens, Int8Array);
    this.patches = this.rows * this.columns;
    this.norms = Float64Array.from({ length: this.images.length * this.patches }, (_, i) =>
      Math.sqrt(this.product(i, i)),
    );
  }

  product(first, second) {
    const a = first * this.width;
    const b = second * this.width;
    let sum = 0;
    for (let i = 0; i < this.width; i++) sum += this.tokens[a + i] * this.tokens[b + i];
    return sum;
  }

  // Similarities of all patches of the image `to` to a patch of the image `from`.
  similarities(from, patch, to) {
    const query = from * this.patches + patch;
    return Float64Array.from({ length: this.patches }, (_, i) => {
      const other = to * this.patches + i;
      return this.product(query, other) / (this.norms[query] * this.norms[other] || 1);
    });
  }
}

const place = (model, patch) => `row ${Math.floor(patch / model.columns) + 1}, column ${(patch % model.columns) + 1}`;

function picture(model, number, alt) {
  return element("img", { src: `data:image/webp;base64,${model.images[number].pixels}`, alt, draggable: false });
}

// A square around a patch.
function frame(model, patch, kind) {
  const node = element("span", { className: `frame ${kind}` });
  node.style.left = `${(100 * (patch % model.columns)) / model.columns}%`;
  node.style.top = `${(100 * Math.floor(patch / model.columns)) / model.rows}%`;
  node.style.width = `${100 / model.columns}%`;
  node.style.height = `${100 / model.rows}%`;
  return node;
}

function heat(model, values, low, high) {
  const canvas = element("canvas", { width: model.columns, height: model.rows, className: "heat" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(model.columns, model.rows);
  values.forEach((value, i) => pixels.data.set([...colour((value - low) / (high - low || 1)), 255], 4 * i));
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function strip(state, side) {
  const { model } = state;
  byId(`${side}strip`).replaceChildren(
    ...model.images.map((image, number) => {
      const button = element("button", { type: "button", title: image.name }, picture(model, number, ""));
      button.setAttribute("aria-pressed", state[side] === number);
      button.addEventListener("click", () => {
        change(state, { [side]: number });
        byId(`${side}strip`).children[number].focus();
      });
      return label(button, image.name);
    }),
  );
}

function draw(state) {
  const { model, left, right, patch } = state;
  const values = model.similarities(left, patch, right);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const best = values.indexOf(high);
  byId("left").replaceChildren(picture(model, left, ""), frame(model, patch, "query"));
  label(byId("left"), `${model.images[left].name}: patch in ${place(model, patch)}; arrows choose another`);
  byId("right").replaceChildren(
    picture(model, right, model.images[right].name),
    heat(model, values, low, high),
    frame(model, best, "best"),
  );
  byId("low").textContent = low.toFixed(2);
  byId("high").textContent = high.toFixed(2);
  byId("said").textContent = `Most similar: ${place(model, best)}, cosine ${high.toFixed(3)}`;
  byId("caveat").textContent = model.caveat;
  byId("caveat").hidden = !model.caveat;
  for (const side of ["left", "right"]) strip(state, side);
}

function change(state, values) {
  Object.assign(state, values);
  draw(state);
}

function step(state, across, down) {
  const { model, patch } = state;
  const column = (patch % model.columns) + across;
  const row = Math.floor(patch / model.columns) + down;
  if (column < 0 || column >= model.columns || row < 0 || row >= model.rows) return;
  change(state, { patch: row * model.columns + column });
}

function begin() {
  const { models } = JSON.parse(byId("data").textContent);
  byId("data").remove();
  const loaded = models.map(() => null);
  const model = (number) => (loaded[number] ??= new Model(models[number]));
  const middle = (raw) => Math.floor(raw.rows / 2) * raw.columns + Math.floor(raw.columns / 2);
  const state = { model: model(0), left: 0, right: Math.min(1, models[0].images.length - 1), patch: middle(models[0]) };
  options(byId("model"), models.map((raw, i) => [String(i), raw.name]), "0");
  byId("model").addEventListener("change", () => {
    const next = model(Number(byId("model").value));
    const last = next.images.length - 1;
    const same = next.rows === state.model.rows && next.columns === state.model.columns;
    change(state, {
      model: next,
      left: Math.min(state.left, last),
      right: Math.min(state.right, last),
      patch: same ? state.patch : middle(next),
    });
  });
  byId("left").addEventListener("click", (event) => {
    const box = byId("left").getBoundingClientRect();
    const cellAt = (from, length, count) => Math.min(Math.max(Math.floor((from / length) * count), 0), count - 1);
    const column = cellAt(event.clientX - box.left, box.width, state.model.columns);
    const row = cellAt(event.clientY - box.top, box.height, state.model.rows);
    change(state, { patch: row * state.model.columns + column });
  });
  byId("left").addEventListener("keydown", (event) => {
    const offset = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!offset) return;
    event.preventDefault();
    step(state, ...offset);
  });
  byId("swap").addEventListener("click", () => {
    const values = state.model.similarities(state.left, state.patch, state.right);
    change(state, { left: state.right, right: state.left, patch: values.indexOf(Math.max(...values)) });
  });
  byId("main").hidden = false;
  draw(state);
}

begin();

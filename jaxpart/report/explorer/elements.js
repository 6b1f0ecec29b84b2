// Elements are built from text nodes and properties only, so no name can become markup.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function label(node, text) {
  node.setAttribute("aria-label", text);
  return node;
}

function options(select, names, chosen) {
  select.replaceChildren(
    ...names.map(([value, text]) => element("option", { value, textContent: text })),
  );
  select.value = chosen;
}

// A part of a sheet as the background of an element, `side` pixels wide.
function show(node, sprites, number, side, box = [0, 0, 1, 1]) {
  const { sheet, x, y, width, height } = sprites.place(number);
  const scale = side / (Math.max(width, height) * (box[2] - box[0]));
  const left = (x + box[0] * width) * scale;
  const top = (y + box[1] * height) * scale;
  node.style.backgroundImage = `url("${sprites.url(sheet)}")`;
  node.style.backgroundSize = `${sprites.columns * sprites.cell * scale}px auto`;
  node.style.backgroundPosition = `${-left}px ${-top}px`;
  node.style.width = `${width * (box[2] - box[0]) * scale}px`;
  node.style.height = `${height * (box[3] - box[1]) * scale}px`;
  return node;
}

function showPatch(node, set, patch, side) {
  if (set.thumbnails) return show(node, set.thumbnails, patch, side);
  return show(node, set.pictures, set.image[patch], side, set.box.slice(4 * patch, 4 * patch + 4));
}

// Elements are made of text nodes and properties alone: no name can become markup.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function label(made, text) {
  made.setAttribute("aria-label", text);
  return made;
}

function options(select, names, chosen) {
  select.replaceChildren(
    ...names.map(([value, text]) => element("option", { value, textContent: text })),
  );
  select.value = chosen;
}

// A part of a sheet as the background of an element, `side` pixels wide.
function show(made, sprites, number, side, box = [0, 0, 1, 1]) {
  const { sheet, x, y, width, height } = sprites.place(number);
  const scale = side / (Math.max(width, height) * (box[2] - box[0]));
  const left = (x + box[0] * width) * scale;
  const top = (y + box[1] * height) * scale;
  made.style.backgroundImage = `url("${sprites.url(sheet)}")`;
  made.style.backgroundSize = `${sprites.columns * sprites.cell * scale}px auto`;
  made.style.backgroundPosition = `${-left}px ${-top}px`;
  made.style.width = `${width * (box[2] - box[0]) * scale}px`;
  made.style.height = `${height * (box[3] - box[1]) * scale}px`;
  return made;
}

function showPatch(made, set, patch, side) {
  if (set.thumbnails) return show(made, set.thumbnails, patch, side);
  return show(made, set.pictures, set.image[patch], side, set.box.slice(4 * patch, 4 * patch + 4));
}

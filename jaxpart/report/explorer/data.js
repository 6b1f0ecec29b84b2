// The page's data: patches with their neighbours, and pictures as sheets of equal cells.

// A sheet becomes a blob when one of its pictures is first shown, or when the page is idle.
class Sprites {
  constructor(pack) {
    Object.assign(this, pack);
    this.urls = pack.sheets.map(() => null);
  }

  url(sheet) {
    if (!this.urls[sheet]) {
      const blob = new Blob([bytes(this.sheets[sheet])], { type: "image/webp" });
      this.urls[sheet] = URL.createObjectURL(blob);
      this.sheets[sheet] = null;
    }
    return this.urls[sheet];
  }

  // Sheet, corner and size of a picture, in the sheet's pixels.
  place(number) {
    const perSheet = this.columns * this.rows;
    const slot = number % perSheet;
    const [width, height] = this.sizes[number];
    return {
      sheet: Math.floor(number / perSheet),
      x: (slot % this.columns) * this.cell,
      y: Math.floor(slot / this.columns) * this.cell,
      width,
      height,
    };
  }

  async warm() {
    for (let sheet = 0; sheet < this.urls.length; sheet++) {
      const image = new Image();
      image.src = this.url(sheet);
      await image.decode().catch(() => {});
      await new Promise((done) => setTimeout(done));
    }
  }
}

class PatchSet {
  constructor(raw) {
    Object.assign(this, raw);
    this.image = numbers(raw.image, Int32Array);
    this.part = numbers(raw.part, Int32Array);
    this.box = numbers(raw.box, Float32Array);
    this.pictures = new Sprites(raw.pictures);
    this.thumbnails = raw.thumbnails && new Sprites(raw.thumbnails);
    this.size = this.image.length;
    this.of = raw.images.map(() => []);
    this.image.forEach((image, patch) => this.of[image].push(patch));
    this.pairs = raw.pairs.map((pair) => ({
      ...pair,
      neighbours: numbers(pair.neighbours, Int32Array),
      similarities: numbers(pair.similarities, Int16Array),
      ap: pair.ap && numbers(pair.ap, Uint16Array),
    }));
  }

  get named() {
    return this.kind === "parts";
  }

  // A patch's label: its part, or the position of its window.
  label(patch) {
    if (this.named) return this.parts[this.part[patch]];
    const index = this.of[this.image[patch]].indexOf(patch);
    return `row ${Math.floor(index / 7) + 1}, column ${(index % 7) + 1}`;
  }

  // [{patch, similarity, right}], nearest first; right is null if patches have no names.
  nearest(pair, patch) {
    const { neighbours, similarities, count } = this.pairs[pair];
    return Array.from({ length: count }, (_, i) => {
      const other = neighbours[patch * count + i];
      return {
        patch: other,
        similarity: similarities[patch * count + i] / 10000,
        right: this.named ? this.part[other] === this.part[patch] : null,
      };
    });
  }

  // A fraction, or null.
  ap(pair, patch) {
    const ap = this.pairs[pair].ap;
    return ap && ap[patch] !== 65535 ? ap[patch] / 10000 : null;
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Numbers as base64 of their bytes.

function bytes(text) {
  const letters = atob(text);
  const result = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) result[i] = letters.charCodeAt(i);
  return result;
}

const numbers = (text, type) => new type(bytes(text).buffer);

'use strict';
// Coronal and sagittal: rows and columns of the pictures that are there, one above the other. So
// those of a tilted gantry lean.
const READ_EVERY_MS = 400, READ_AT_ONCE = 25;
const PLANES = {
  coronal: { across: () => shown.Stack.AlongRow, size: () => shown.Stack.Columns, most: () => shown.Stack.Rows },
  sagittal: { across: () => shown.Stack.DownColumn, size: () => shown.Stack.Rows, most: () => shown.Stack.Columns },
};
const greys = new Map();   // by slice: the grey values of a picture

async function readGreys() {
  for (const slice of greys.keys()) { if (!pictures.has(slice)) { greys.delete(slice); } }
  const missing = [...pictures].filter(([slice, { png }]) => greys.get(slice)?.png !== png).slice(0, READ_AT_ONCE);
  for (const [slice, { png }] of missing) {
    const bitmap = await createImageBitmap(png);
    const pen = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d', { willReadFrequently: true });
    pen.drawImage(bitmap, 0, 0);
    const { data } = pen.getImageData(0, 0, bitmap.width, bitmap.height);
    bitmap.close();
    greys.set(slice, { png, values: Uint8Array.from({ length: data.length / 4 }, (_, n) => data[4 * n]) });
  }
  return missing.length > 0;
}

async function keepReading() {
  while (get('planes').open) {
    if (await readGreys()) { drawPlanes(); }
    await new Promise((done) => { setTimeout(done, READ_EVERY_MS); });
  }
}

function drawPlanes() {
  if (!get('planes').open) { return; }
  for (const name of Object.keys(PLANES)) { drawPlane(name, Number(get(name).value) - 1); }
}

function drawPlane(name, place) {
  const { Slices, Columns, SpacingMm, Normal } = shown.Stack;
  const { across, size } = PLANES[name];
  const [width, height] = [size(), Slices.length];
  const isUp = Normal[2] >= 0;   // the head is above
  const rowOf = (slice) => (isUp ? height - 1 - slice : slice);
  const image = new ImageData(width, height);
  for (const [slice, { values }] of greys) {
    for (let n = 0; n < width; n += 1) {
      const grey = values[name === 'coronal' ? place * Columns + n : n * Columns + place];
      image.data.set([grey, grey, grey, 255], 4 * (rowOf(slice) * width + n));
    }
  }
  const flat = new OffscreenCanvas(width, height);
  flat.getContext('2d').putImageData(image, 0, 0);
  const canvas = get(`${name}-picture`);
  const [mm, placeMm] = name === 'coronal' ? SpacingMm : [...SpacingMm].reverse();
  const stepMm = (Slices.at(-1).OffsetMm - Slices[0].OffsetMm) / Math.max(height - 1, 1) || 1;
  canvas.style.aspectRatio = `${width * mm} / ${height * stepMm}`;
  const pen = sized(canvas);
  pen.scale(canvas.clientWidth / (width * mm), canvas.clientHeight / height);
  pen.drawImage(flat, 0, 0, width * mm, height);
  const tint = (colour, slices) => {
    pen.fillStyle = colour;
    for (const [slice, { contours }] of Object.entries(slices)) {
      const ends = crossings(contours, name === 'coronal' ? 1 : 0, (place + 0.5) * placeMm);
      for (let n = 0; n + 1 < ends.length; n += 2) { pen.fillRect(ends[n], rowOf(slice), ends[n + 1] - ends[n], 1); }
    }
  };
  tint('rgba(255, 210, 63, .35)', get('visible').checked && outline?.slices || {});
  tint(SHADE, shaded());
  pen.fillStyle = '#9fd0ff';
  pen.fillRect(0, rowOf(view.slice) + 0.5, width * mm, height / canvas.clientHeight);
  const up = isUp ? Normal : opposite(Normal);
  const ends = { left: opposite(across()), right: across(), top: up, bottom: opposite(up) };
  for (const [edge, direction] of Object.entries(ends)) { say(canvas.parentElement.querySelector(`.${edge}`), letters(direction)); }
}

// Where a line through contours enters and leaves what they enclose; axis: 1 for a line of one y, 0 of one x.
function crossings(contours, axis, place) {
  const found = [];
  for (const points of contours) {
    points.forEach((point, n) => {
      const next = points[(n + 1) % points.length];
      if ((point[axis] > place) !== (next[axis] > place)) {
        const part = (place - point[axis]) / (next[axis] - point[axis]);
        found.push(point[1 - axis] + part * (next[1 - axis] - point[1 - axis]));
      }
    });
  }
  return found.sort((a, b) => a - b);
}

function listenToPlanes() {
  if (Math.abs(shown.Stack.Normal[2]) < 0.7) {   // the slices are not axial
    for (const caption of get('planes').querySelectorAll('summary, figcaption')) { caption.textContent = t('Across the slices'); }
  }
  for (const [name, { most }] of Object.entries(PLANES)) {
    Object.assign(get(name), { max: most(), value: Math.ceil(most() / 2) });
    get(name).addEventListener('input', drawPlanes);
  }
  get('visible').addEventListener('change', drawPlanes);
  get('planes').addEventListener('toggle', () => { drawPlanes(); keepReading().catch(tellError); });
}

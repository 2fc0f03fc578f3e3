'use strict';
// A person cuts the outline into parts: by a plane through three clicks, or by lassos on slices. The
// plugin computes; here is what was clicked, in mm of the patient, and each state of it before.
const CLICK_PX = 5, LASSO_STEP_MM = 2;
const REGIONS = ['Perfused 1', 'Perfused 2', 'Perfused 3', 'Perfused 4'];   // names of ROIs, in no language
const CUT_COLOURS = ['#00d69c', '#56b4e9', '#e69f00', '#cc79a7'];
const CLICKS = {
  0: 'Click the gallbladder fossa: point 1 of 3.',
  1: 'Click the vena cava: point 2 of 3.',
  2: 'Click the middle hepatic vein or the falciform ligament, on another slice: point 3 of 3.',
  3: 'The plane is set: its line is drawn on each slice. A further click moves the nearest point.',
};
let clicked = { plane: [], lassos: [] };   // points; and for each drawing its region, slice and points
const before = [];
let stroke = null;                         // a lasso under way: in mm of the picture
let pressedAt = null;
let cuts = [];

const cutBy = () => document.querySelector('[name=cut]:checked').value;
const isLassoing = () => get('cutting').open && cutBy() === 'lassos';
const dot = (one, other) => one.reduce((sum, part, n) => sum + part * other[n], 0);
const minus = (one, other) => one.map((part, n) => part - other[n]);

// From mm of the picture, as slices.js draws, to mm of the patient, and back.
function toPatient(slice, [x, y]) {
  const { AlongRow, DownColumn, SpacingMm: [across, down], Slices } = shown.Stack;
  return Slices[slice].CornerMm.map((part, n) => part + (x - across / 2) * AlongRow[n] + (y - down / 2) * DownColumn[n]);
}

function toPicture(slice, point) {
  const { AlongRow, DownColumn, SpacingMm: [across, down], Slices } = shown.Stack;
  const away = minus(point, Slices[slice].CornerMm);
  return [dot(away, AlongRow) + across / 2, dot(away, DownColumn) + down / 2];
}

function sliceOf(point) {
  const { Slices, Normal } = shown.Stack;
  const away = Slices.map(({ OffsetMm }) => Math.abs(OffsetMm - dot(point, Normal)));
  return away.indexOf(Math.min(...away));
}

// Where on the picture, within its border.
function under(event) {
  const { size, perMm, x, y } = scaling();
  return [event.offsetX - x, event.offsetY - y].map((px, n) => Math.min(Math.max(px / perMm, 0), size[n]));
}

function change(next) {
  before.push(clicked);
  clicked = next;
  showCut();
}

function addPoint(place) {
  const point = toPatient(view.slice, place);
  const plane = [...clicked.plane];
  const away = plane.map((one) => Math.hypot(...minus(one, point)));
  plane.splice(plane.length < 3 ? plane.length : away.indexOf(Math.min(...away)), 1, point);
  change({ ...clicked, plane });
}

// In the place of what the region had on this slice.
function addLasso(places) {
  const region = get('region').selectedIndex;
  const others = clicked.lassos.filter((one) => one.region !== region || one.slice !== view.slice);
  const drawing = { region, slice: view.slice, points: places.map((one) => toPatient(view.slice, one)) };
  change({ ...clicked, lassos: [...others, drawing] });
}

function showCut() {
  const { plane, lassos } = clicked;
  const region = get('region').selectedIndex;
  const slices = lassos.filter((one) => one.region === region).map((one) => one.slice + 1).sort((a, b) => a - b);
  get('region-label').hidden = cutBy() === 'plane';
  say(get('cut-hint'), cutBy() === 'plane' ? t(CLICKS[plane.length])
    : slices.length ? t('Drawn on slices {slices}; between them it is interpolated, beyond them it is empty.', { slices: slices.join(', ') })
      : t('Drag around the region: on its first slice, on its last and on some between.'));
  get('undo').disabled = !before.length;
  get('cut-store').disabled = cutBy() === 'plane' ? plane.length < 3 : !lassos.length;
  draw();
}

function drawCut(pen, perMm) {
  if (!get('cutting').open) { return; }
  pen.lineWidth = 2 / perMm;
  if (cutBy() === 'plane') {
    drawPlaneLine(pen);
    clicked.plane.forEach((point, n) => {
      if (sliceOf(point) !== view.slice) { return; }
      const [x, y] = toPicture(view.slice, point);
      pen.strokeStyle = pen.fillStyle = CUT_COLOURS[0];
      pen.beginPath();
      pen.arc(x, y, 5 / perMm, 0, 2 * Math.PI);
      pen.stroke();
      pen.font = `${13 / perMm}px sans-serif`;
      pen.fillText(n + 1, x + 8 / perMm, y - 4 / perMm);
    });
    return;
  }
  const here = clicked.lassos.filter((one) => one.slice === view.slice);
  const drawings = here.map((one) => [one.region, one.points.map((point) => toPicture(view.slice, point))]);
  if (stroke) { drawings.push([get('region').selectedIndex, stroke]); }
  for (const [region, places] of drawings) {
    pen.strokeStyle = CUT_COLOURS[region];
    pen.beginPath();
    for (const place of places) { pen.lineTo(...place); }
    if (places !== stroke) { pen.closePath(); }
    pen.stroke();
  }
}

// Where the plane meets the slice, from border to border of the picture.
function drawPlaneLine(pen) {
  if (clicked.plane.length < 3) { return; }
  const [first, second, third] = clicked.plane;
  const [a, b] = [minus(second, first), minus(third, first)];
  const normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const start = dot(normal, minus(toPatient(view.slice, [0, 0]), first));
  const [alongX, alongY] = [dot(normal, shown.Stack.AlongRow), dot(normal, shown.Stack.DownColumn)];
  const [width, height] = scaling().size;
  const ends = [
    ...[0, width].map((x) => [x, -(start + alongX * x) / alongY]),
    ...[0, height].map((y) => [-(start + alongY * y) / alongX, y]),
  ].filter(([x, y]) => x >= 0 && x <= width && y >= 0 && y <= height);
  if (ends.length < 2) { return; }
  pen.strokeStyle = CUT_COLOURS[0];
  pen.beginPath();
  pen.moveTo(...ends[0]);
  pen.lineTo(...ends.at(-1));
  pen.stroke();
}

function tellOfCut(text, isWrong = false) {
  get('cut-told').className = isWrong ? 'wrong' : '';
  get('cut-told').textContent = text;
}

const flat = (points) => points.flat().map((part) => Math.round(part * 100) / 100);

function cutBody() {
  const isOfCut = cuts.some((one) => one.Instance === outline?.rtstruct);   // shown since it was stored
  const body = { Rtstruct: isOfCut ? lookedFor : outline?.rtstruct || '' };
  if (!get('by-label').hidden) { body.By = get('by').value.trim(); }
  if (cutBy() === 'plane') { return { ...body, Plane: flat(clicked.plane) }; }
  const regions = REGIONS.map((_, region) => clicked.lassos.filter((one) => one.region === region).map((one) => flat(one.points)));
  return { ...body, Lassos: regions.filter((one) => one.length) };
}

// A region without a drawing before one that has some: stored, the later one would take its name.
function regionToDrawFirst() {
  const isDrawn = REGIONS.map((_, region) => clicked.lassos.some((one) => one.region === region));
  return REGIONS.find((_, region) => !isDrawn[region] && isDrawn.lastIndexOf(true) > region);
}

async function storeParts() {
  const body = cutBody();
  if (body.By === '') {
    get('by').focus();
    tellOfCut(t('Type your name to store the parts.'), true);
    return;
  }
  const region = body.Lassos && regionToDrawFirst();
  if (region) {
    tellOfCut(t('Draw {region} first.', { region }), true);
    return;
  }
  get('cut-store').disabled = true;
  tellOfCut(t('Cutting'));
  try {
    const stored = await call(`${LIVER}series/${SERIES}/cut`, 'POST', JSON.stringify(body));
    await offerOutlines(lookedFor);
    const first = outlines.findIndex((one) => one.Rtstruct === stored.Instance);
    if (first >= 0) { get('outline').value = first; }
    await chooseOutline();
    showDecision();
    await offerCuts();
    if (asks) { showInputs(); }   // of the activity, with the new outlines
    tellOfCut(`${t('Stored')}: ${volumesOf(stored)}`);
  } catch (error) {
    tellOfCut(error.message, true);
  }
  showCut();
}

const volumesOf = ({ PartsMl }) => Object.entries(PartsMl).map(([name, ml]) => `${name} ${Math.round(ml)} mL`).join(', ');

async function offerCuts() {
  cuts = await call(`${LIVER}series/${SERIES}/cuts`);
  get('cuts').replaceChildren(...cuts.map((one, n) => new Option(
    [isolated(one.By), when(one.Time), volumesOf(one), one.SupersededBy ? t('replaced by newer') : ''].filter(Boolean).join(', '), n)));
  get('kept-cuts').hidden = !cuts.length;
}

function reopen() {
  const { Plane, Lassos } = cuts[get('cuts').value];
  const points = (numbers) => Array.from({ length: numbers.length / 3 }, (_, n) => numbers.slice(3 * n, 3 * n + 3));
  const lassos = Lassos.flatMap((drawings, region) => drawings.map((one) => ({ region, slice: sliceOf(points(one)[0]), points: points(one) })));
  document.querySelector(`[name=cut][value=${Plane.length ? 'plane' : 'lassos'}]`).checked = true;
  change({ plane: points(Plane), lassos });
  choose(Plane.length ? sliceOf(clicked.plane[0]) : lassos[0].slice);
}

function onPress(event) {
  if (!get('cutting').open) { return; }
  const isFirst = fingers.size < 2;   // slices.js has counted this one already
  pressedAt = isFirst ? [event.offsetX, event.offsetY] : null;
  stroke = isFirst && isLassoing() ? [under(event)] : null;
}

function onStroke(event) {
  if (!stroke || !fingers.has(event.pointerId)) { return; }
  const place = under(event);
  if (Math.hypot(...minus(place, stroke.at(-1))) >= LASSO_STEP_MM) {
    stroke.push(place);
    draw();
  }
}

function onRelease(event) {
  const isClick = pressedAt && Math.hypot(...minus([event.offsetX, event.offsetY], pressedAt)) < CLICK_PX;
  if (isClick && cutBy() === 'plane') { addPoint(under(event)); }
  if (stroke?.length > 2) { addLasso(stroke); }
  stroke = pressedAt = null;
  draw();
}

function listenToCut() {
  get('region').replaceChildren(...REGIONS.map((name) => new Option(name)));
  const stage = get('stage');
  stage.addEventListener('pointerdown', onPress);
  stage.addEventListener('pointermove', onStroke);
  stage.addEventListener('pointerup', onRelease);
  stage.addEventListener('pointercancel', () => { stroke = pressedAt = null; draw(); });
  for (const field of [...document.querySelectorAll('[name=cut]'), get('region')]) { field.addEventListener('change', showCut); }
  get('cutting').addEventListener('toggle', () => {
    showCut();
    if (get('cutting').open) { offerCuts().catch(tellError); }
  });
  get('undo').addEventListener('click', () => { clicked = before.pop(); showCut(); });
  get('cut-store').addEventListener('click', storeParts);
  get('reopen').addEventListener('click', reopen);
}

'use strict';
// The slices with an outline over them: Orthanc's own pictures, the outline's own contours.
const SERIES = /series\/([^/]+)\/review/.exec(location.pathname)[1];
const WINDOWS = { Abdomen: [60, 400], Liver: [100, 160], Lung: [-500, 1500], Bone: [400, 1800] };
const LINE = '#ffd23f', SHADE = 'rgba(255, 120, 40, .45)', SHADE_ON_STRIP = '#d9661a';
// Around the slice: pictures that are kept as they came, and those of them that are decoded.
const KEPT = 402, DECODED = 20;
const AHEAD = 3;                            // so many on the way for one behind
const AT_ONCE = 4;                          // pictures that are asked for
const WHEEL_PX = 40, DRAG_PX = 8;           // a slice
const STILL_MS = 200;                       // after this long without a step nobody scrolls
const MOST_ZOOM = 16;

const view = { slice: 0, towards: 1, level: 60, width: 400, zoom: 1, x: 0, y: 0 };   // x, y: mm in the middle
const pace = { steppedAt: 0, slicesPerMs: 0, fetchMs: 100 };
const pictures = new Map();   // by slice: a PNG, what is drawn of it, and of which window it is
const underWay = new Map();   // by slice: how to give it up
const failed = new Set();     // slices that Orthanc could not draw
let shown = null;             // what the plugin told of the slices
let outlines = [];            // what there is to choose from
let outline = null;           // what is drawn: a path and an area in mm for each slice
let unsure = null;            // where the networks are: the job, and for each slice what is shaded
let frame = 0;
let isDraggingWindow = false;
let isLookedAt = false;       // a person has chosen a slice

const windowName = () => `window-center=${view.level}&window-width=${view.width}`;

// Those that are missing around the slice, the nearest first, and rather where it is going than
// where it came from; only its own while the window moves.
function wanted() {
  const from = view.slice + view.towards * lead();
  const slices = [from];
  for (let away = 1; away <= (isDraggingWindow ? 0 : KEPT); away += 1) {
    slices.push(from + view.towards * away);
    if (away % AHEAD === 0) { slices.push(from - view.towards * away / AHEAD); }
  }
  for (let away = KEPT / AHEAD; away <= (isDraggingWindow ? 0 : KEPT); away += 1) { slices.push(from - view.towards * away); }
  return slices.filter((one) => shown.Stack.Slices[one] && !failed.has(one) && pictures.get(one)?.window !== windowName());
}

// How many slices will have passed when a picture comes that is asked for now: who scrolls faster than
// pictures come would else be shown none, for each would come too late.
function lead() {
  const isStill = performance.now() - pace.steppedAt > STILL_MS;
  return isStill ? 0 : Math.min(Math.ceil(pace.slicesPerMs * pace.fetchMs), DECODED);
}

function keepPace(slices) {
  const now = performance.now();
  const sinceMs = now - pace.steppedAt;
  pace.slicesPerMs = sinceMs < STILL_MS ? slices / Math.max(sinceMs, 1) : 0;
  pace.steppedAt = now;
  setTimeout(fetchPictures, STILL_MS + 1);
}

const isNear = (slice, most) => Math.abs(slice - view.slice) <= most;

function fetchPictures() {
  for (const [slice, abort] of underWay) { if (!isNear(slice, KEPT)) { abort.abort(); } }
  for (const [slice, picture] of pictures) {
    if (!isNear(slice, DECODED)) { forget(picture); }
    if (!isNear(slice, KEPT)) { pictures.delete(slice); }
  }
  const next = wanted().filter((one) => !underWay.has(one));
  for (const slice of next.slice(0, Math.max(AT_ONCE - underWay.size, 0))) { fetchPicture(slice); }
  for (const [slice, picture] of pictures) { if (isNear(slice, DECODED)) { decode(slice, picture); } }
}

async function fetchPicture(slice) {
  const abort = new AbortController();
  const asked = windowName();
  const beganAt = performance.now();
  underWay.set(slice, abort);
  try {
    const address = `${ORTHANC}instances/${shown.Stack.Slices[slice].Instance}/rendered?${asked}`;
    const answer = await fetch(address, { headers: { Accept: 'image/png' }, signal: abort.signal });
    if (!answer.ok) { throw new Error(t('Orthanc answered {status}.', { status: answer.status })); }
    const png = await answer.blob();
    pace.fetchMs += (performance.now() - beganAt - pace.fetchMs) / 4;
    const former = pictures.get(slice);   // of another window, which is better than none
    pictures.set(slice, { png, window: asked, bitmap: former?.bitmap, isDecoded: false });
    if (former) { former.bitmap = null; }
  } catch (error) {
    if (error.name !== 'AbortError') {
      failed.add(slice);
      draw();
    }
  }
  underWay.delete(slice);
  fetchPictures();
}

async function decode(slice, picture) {
  if (picture.isDecoded) { return; }
  picture.isDecoded = true;
  try {
    const bitmap = await createImageBitmap(picture.png);
    const isWanted = pictures.get(slice) === picture && isNear(slice, DECODED);
    (isWanted ? picture.bitmap : bitmap)?.close();
    if (isWanted) { picture.bitmap = bitmap; }
  } catch {
    failed.add(slice);
  }
  if (slice === view.slice) { draw(); }
}

function forget(picture) {
  picture.bitmap?.close();
  Object.assign(picture, { bitmap: null, isDecoded: false });
}

async function chooseOutline() {
  const chosen = outlines[get('outline').value];
  outline = null;
  draw();
  if (chosen) {
    const { Rtstruct, Roi } = chosen;
    const told = await call(`${LIVER}series/${SERIES}/outline?rtstruct=${Rtstruct}&roi=${Roi}`);
    if (chosen !== outlines[get('outline').value]) { return; }
    outline = { rtstruct: Rtstruct, slices: {} };
    for (const [slice, contours] of Object.entries(told.Slices)) { outline.slices[slice] = drawn(contours, told.PartsOfPixel); }
    tell(told.NotShown ? t('{count} contours of this outline lie on none of these slices, or enclose nothing.', { count: told.NotShown }) : '');
  }
  await findUnsure().catch(tellError);
  drawStrip();
  drawPlanes();
  if (!isLookedAt) { goTo(openingSlice()); }
  showPlace();
  draw();
}

// Only of the result itself, and only where its report names places.
async function findUnsure() {
  if (!doubtful().length || unsure?.job === job.ID) { return; }
  const told = await call(`${LIVER}series/${SERIES}/unsure`).catch(() => null);   // of an earlier version
  unsure = { job: job.ID, slices: {} };
  for (const [slice, contours] of Object.entries(told?.Slices || {})) {
    const { contours: corners } = drawn(contours, told.PartsOfPixel);
    const path = new Path2D();
    for (const [first, ...others] of corners) {
      path.moveTo(...first);
      for (const point of others) { path.lineTo(...point); }
      path.closePath();
    }
    unsure.slices[slice] = { path, contours: corners };
  }
}

const shaded = () => (get('visible').checked && doubtful().length && unsure?.job === job.ID ? unsure.slices : {});

// In mm from the picture's corner. A hole hangs on its outer line by a bridge, there and back, which is not drawn.
function drawn(contours, parts) {
  const [across, down] = shown.Stack.SpacingMm;
  const path = new Path2D();
  let area = 0;
  const all = [];
  for (const flat of contours) {
    const points = [];
    for (let n = 0; n < flat.length; n += 2) {
      points.push([(flat[n] / parts + 0.5) * across, (flat[n + 1] / parts + 0.5) * down]);
    }
    all.push(points);
    const edges = new Set(points.map((point, n) => `${point}>${points[(n + 1) % points.length]}`));
    path.moveTo(...points[0]);
    points.forEach((point, n) => {
      const next = points[(n + 1) % points.length];
      path[edges.has(`${next}>${point}`) ? 'moveTo' : 'lineTo'](...next);
      area += (point[0] * next[1] - next[0] * point[1]) / 2;
    });
  }
  return { path, area: Math.abs(area), contours: all };
}

// Where to look first, as the report says of its own outline; slices from 0, the first place first.
function doubtful() {
  const { Report: report, Result: result } = job?.Content || {};
  if (!outline || outline.rtstruct !== result?.Instance) { return []; }
  return (report?.look_at || []).map(({ slices: [first, last] }) => [first - 1, last - 1]);
}

// Where there is most doubt, else most to see.
function openingSlice() {
  const [[first, last] = []] = doubtful();
  if (first !== undefined) { return Math.floor((first + last) / 2); }
  const slices = Object.entries(outline?.slices || {});
  const [largest] = slices.sort(([, a], [, b]) => b.area - a.area);
  return largest ? Number(largest[0]) : Math.floor((shown.Stack.Slices.length - 1) / 2);
}

// Pixels of the page for a mm of the picture, and where its corner comes to lie.
function scaling() {
  const { clientWidth, clientHeight } = get('stage');
  const { Rows, Columns, SpacingMm: [across, down] } = shown.Stack;
  const size = [Columns * across, Rows * down];
  const perMm = view.zoom * Math.min(clientWidth / size[0], clientHeight / size[1]);
  return { size, perMm, x: clientWidth / 2 - view.x * perMm, y: clientHeight / 2 - view.y * perMm };
}

function draw() {
  frame = frame || requestAnimationFrame(paint);
}

function paint() {
  frame = 0;
  const canvas = get('picture');
  const { size, perMm, x, y } = scaling();
  const pen = sized(canvas);
  const bitmap = pictures.get(view.slice)?.bitmap;
  say(get('waiting'), bitmap ? '' : failed.has(view.slice) ? t('Orthanc cannot draw this slice') : t('Loading'));
  if (!bitmap) { return; }
  pen.translate(x, y);
  pen.scale(perMm, perMm);
  pen.drawImage(bitmap, 0, 0, ...size);
  const doubt = shaded()[view.slice];
  if (doubt) {
    pen.fillStyle = SHADE;
    pen.fill(doubt.path, 'evenodd');
  }
  const there = get('visible').checked && outline?.slices[view.slice];
  if (there) {
    for (const [colour, width] of [['rgba(0, 0, 0, .6)', 3.5], [LINE, 1.7]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width / perMm;
      pen.lineJoin = 'round';
      pen.stroke(there.path);
    }
  }
  drawCut(pen, perMm);
}

// An empty canvas with as many pixels as the screen has in its place.
function sized(canvas) {
  const { clientWidth, clientHeight } = canvas;
  const [width, height] = [clientWidth, clientHeight].map((one) => Math.round(one * devicePixelRatio));
  if (canvas.width !== width || canvas.height !== height) { Object.assign(canvas, { width, height }); }
  const pen = canvas.getContext('2d');
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.scale(width / clientWidth, height / clientHeight);
  return pen;
}

// Along the slider: how large the outline is on each slice, and above it where to look first.
function drawStrip() {
  const strip = get('strip');
  const pen = sized(strip);
  const step = strip.clientWidth / shown.Stack.Slices.length;
  const slices = Object.entries(outline?.slices || {});
  const most = Math.max(...slices.map(([, one]) => one.area));
  pen.fillStyle = getComputedStyle(strip).color;
  for (const [slice, { area }] of slices) {
    const height = Math.max(2, strip.clientHeight * area / most);
    pen.fillRect(slice * step, strip.clientHeight - height, Math.max(step + 0.5, 1), height);
  }
  pen.fillStyle = SHADE_ON_STRIP;
  for (const [first, last] of doubtful()) { pen.fillRect(first * step, 0, (last - first + 1) * step, strip.clientHeight / 2); }
}

// The end of the body that a direction points to, as DICOM names it; two letters between two.
function letters(direction) {
  const ends = [['L', 'R'], ['P', 'A'], ['H', 'F']];
  return direction.map((part, axis) => [Math.abs(part), ends[axis][part > 0 ? 0 : 1]])
    .filter(([size]) => size > 0.3).sort((a, b) => b[0] - a[0]).slice(0, 2).map(([, letter]) => letter).join('');
}

const opposite = (direction) => direction.map((part) => -part);

function showPlace() {
  const { Slices, Normal } = shown.Stack;
  const offset = Slices[view.slice].OffsetMm;
  const towards = letters(Normal.map((part) => (offset < 0 ? -part : part)));
  const place = [t('Slice {number} of {all}', { number: view.slice + 1, all: Slices.length }), `${towards} ${Math.abs(offset).toFixed(1)} mm`];
  say(get('place'), place.join('\n'));
  say(get('levels'), `${t('Level')} ${view.level}\n${t('Width')} ${view.width}`);
  get('slice').value = view.slice + 1;
  get('slice').setAttribute('aria-valuetext', place.join(', '));
  const told = !outline ? [] : outline.slices[view.slice] ? [t('with outline')] : [t('without outline')];
  const isDoubtful = doubtful().some(([first, last]) => first <= view.slice && view.slice <= last);
  if (isDoubtful) { told.push(t('to be looked at')); }
  say(get('doubt'), !isDoubtful ? '' : shaded()[view.slice] ? t('Look here first: at what is shaded') : t('Look here first'));
  get('picture').setAttribute('aria-label', [...place, ...told].join(', '));
}

function showScale() {
  const { perMm } = scaling();
  const longest = get('stage').clientWidth / 4;
  const cm = [10, 5, 2, 1, 0.5, 0.2].find((one) => one * 10 * perMm <= longest) || 0.1;
  get('scale').style.width = `${cm * 10 * perMm}px`;
  say(get('scale'), `${cm} cm`);
}

function goTo(slice) {
  const last = shown.Stack.Slices.length - 1;
  const before = view.slice;
  view.slice = Math.min(Math.max(slice, 0), last);
  view.towards = Math.sign(view.slice - before) || view.towards;
  if (view.slice !== before) { keepPace(Math.abs(view.slice - before)); }
  failed.delete(view.slice);
  fetchPictures();
  showPlace();
  draw();
  drawPlanes();
}

function choose(slice) {
  isLookedAt = true;
  goTo(slice);
}

function setWindow(level, width) {
  view.level = Math.round(Math.min(Math.max(level, -2000), 4000));
  view.width = Math.round(Math.min(Math.max(width, 1), 8000));
  [get('level').value, get('width').value] = [view.level, view.width];
  const preset = Object.keys(WINDOWS).find((name) => String(WINDOWS[name]) === String([view.level, view.width]));
  get('window').value = preset || '';
  fetchPictures();
  showPlace();
}

// What lies under a point of the stage stays there.
function zoom(factor, pointX = get('stage').clientWidth / 2, pointY = get('stage').clientHeight / 2) {
  const before = scaling();
  view.zoom = Math.min(Math.max(view.zoom * factor, 1), MOST_ZOOM);
  const after = scaling();
  move((pointX - after.x) / after.perMm - (pointX - before.x) / before.perMm,
    (pointY - after.y) / after.perMm - (pointY - before.y) / before.perMm);
}

function move(xMm, yMm) {
  const { size } = scaling();
  view.x = Math.min(Math.max(view.x - xMm, 0), size[0]);
  view.y = Math.min(Math.max(view.y - yMm, 0), size[1]);
  if (view.zoom === 1) { [view.x, view.y] = [size[0] / 2, size[1] / 2]; }
  showScale();
  draw();
}

const KEYS = {
  ArrowUp: () => choose(view.slice + 1),
  ArrowRight: () => choose(view.slice + 1),
  ArrowDown: () => choose(view.slice - 1),
  ArrowLeft: () => choose(view.slice - 1),
  PageUp: () => choose(view.slice + 10),
  PageDown: () => choose(view.slice - 10),
  Home: () => choose(0),
  End: () => choose(shown.Stack.Slices.length - 1),
  o: () => get('visible').click(),
  '+': () => zoom(1.25),
  '=': () => zoom(1.25),
  '-': () => zoom(0.8),
  0: () => zoom(0),
  ...Object.fromEntries(Object.values(WINDOWS).map((one, n) => [n + 1, () => setWindow(...one)])),
};

const fingers = new Map();   // where each pointer on the stage was last
let left = 0;                // of a slice that a wheel or a finger has not moved yet

function onWheel(event) {
  event.preventDefault();
  if (event.ctrlKey) {
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.offsetX, event.offsetY);
    return;
  }
  const px = event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_PX;
  scroll(-px / WHEEL_PX);
}

// By as many slices, or parts of one.
function scroll(slices) {
  left += slices;
  const whole = Math.trunc(left);
  left -= whole;
  if (whole) { choose(view.slice + whole); }
}

function onMove(event) {
  const before = fingers.get(event.pointerId);
  if (!before) { return; }
  const now = [event.offsetX, event.offsetY];
  const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
  fingers.set(event.pointerId, now);
  const { perMm } = scaling();
  if (fingers.size === 2) {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
    zoom(apart(now) / Math.max(apart(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    move(dx / 2 / perMm, dy / 2 / perMm);
  } else if (isLassoing()) {
    return;
  } else if (dragging() === 'move') {
    move(dx / perMm, dy / perMm);
  } else if (dragging() === 'window') {
    isDraggingWindow = true;
    setWindow(view.level + dy, view.width + 2 * dx);
  } else {
    scroll(-dy / DRAG_PX);
  }
}

function onEnd(event) {
  fingers.delete(event.pointerId);
  left = 0;
  if (isDraggingWindow) {
    isDraggingWindow = false;
    fetchPictures();
  }
}

const dragging = () => document.querySelector('[name=drag]:checked').value;

function showOrientation() {
  const { AlongRow, DownColumn } = shown.Stack;
  const ends = { right: AlongRow, left: opposite(AlongRow), bottom: DownColumn, top: opposite(DownColumn) };
  for (const [edge, direction] of Object.entries(ends)) { say(get('stage').querySelector(`.${edge}`), letters(direction)); }
}

function listen() {
  const stage = get('stage');
  stage.addEventListener('keydown', (event) => {
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      act();
    }
  });
  stage.addEventListener('wheel', onWheel, { passive: false });
  stage.addEventListener('pointerdown', (event) => {
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  });
  stage.addEventListener('pointermove', onMove);
  for (const end of ['pointerup', 'pointercancel']) { stage.addEventListener(end, onEnd); }
  get('slice').addEventListener('input', () => choose(get('slice').value - 1));
  get('visible').addEventListener('change', () => { showPlace(); draw(); });
  get('window').addEventListener('change', () => setWindow(...(WINDOWS[get('window').value] || [view.level, view.width])));
  for (const name of ['level', 'width']) {
    get(name).addEventListener('change', () => setWindow(Number(get('level').value), Number(get('width').value)));
  }
  get('larger').addEventListener('click', () => zoom(1.25));
  get('smaller').addEventListener('click', () => zoom(0.8));
  get('fit').addEventListener('click', () => zoom(0));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawStrip);
  new ResizeObserver(() => { move(0, 0); drawStrip(); }).observe(stage);
}

function beginWithSlices() {
  const presets = Object.entries(WINDOWS).map(([name, [level, width]]) => new Option(`${t(name)} ${level} / ${width}`, name));
  get('window').replaceChildren(...presets, new Option(t('own'), ''));
  const dragged = matchMedia('(hover: hover)').matches ? 'window' : 'scroll';
  document.querySelector(`[name=drag][value=${dragged}]`).checked = true;
  get('slice').max = shown.Stack.Slices.length;
  showOrientation();
  listen();
  move(0, 0);
  goTo(openingSlice());
  setWindow(view.level, view.width);
}

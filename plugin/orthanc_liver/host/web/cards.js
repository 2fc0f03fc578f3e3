'use strict';
// One card for each series, wherever it stands.
const UID = /\b[012](?:\.\d+){5,}\b/g;
const cards = new Map();   // by Orthanc's id of the series
let viewer = '';   // the setting Viewer

function fillSafely(job) {
  const card = cards.get(job.Content.Series) || newCard(job.Content);
  try {
    fill(card, job);
  } catch (error) {
    say(card.querySelector('.reason'), `${t('This job cannot be shown')}: ${error.message}`);
  }
}

function place(listName, jobs) {
  jobs.forEach((job, number) => {
    const card = cards.get(job.Content.Series);
    const here = get(listName).children[number];
    if (here !== card) { get(listName).insertBefore(card, here || null); }
  });
}

function newCard({ Series, Study }) {
  const card = get('one').content.cloneNode(true).firstElementChild;
  card.dataset.series = Series;
  cards.set(Series, card);
  const on = (name, path) => card.querySelector(name).addEventListener('click', () =>
    act(() => call(`${LIVER}${path()}`, 'POST')));
  on('.next', () => `jobs/${card.dataset.job}/next`);
  on('.cancel', () => `jobs/${card.dataset.job}/cancel`);
  on('.resubmit', () => `jobs/${card.dataset.job}/resubmit`);
  on('.deliver', () => `jobs/${card.dataset.job}/deliver`);
  card.querySelector('.segment').addEventListener('click', () => act(() => segment(`series/${Series}`, '{"Force": true}')));
  card.querySelector('.review').href = `${LIVER}series/${Series}/review`;
  card.querySelector('.viewer').hidden = true;
  card.querySelector('.explore').href = `${ORTHANC}app/explorer.html#series?uuid=${Series}`;
  title(card, `${t('Series')} ${Series}`);
  name(card, Series, Study);
  return card;
}

async function name(card, Series, Study) {
  try {
    const [series, study] = await Promise.all(
      [call(`${ORTHANC}series/${Series}`), call(`${ORTHANC}studies/${Study}`)]);
    const { PatientName, PatientID } = study.PatientMainDicomTags;
    title(card, person(PatientName), PatientID);
    sayParts(card.querySelector('.about'), [day(study.MainDicomTags.StudyDate), study.MainDicomTags.StudyDescription,
      series.MainDicomTags.SeriesDescription, t('{count} slices', { count: series.Instances.length })]);
    link(card.querySelector('.viewer'), viewer, study, series);
  } catch (error) {
    say(card.querySelector('.about'), error.message);
  }
}

// Buttons and links say what they act on, for whoever does not see where they stand.
function title(card, ...parts) {
  sayParts(card.querySelector('h3'), parts);
  const whose = card.querySelector('h3').textContent;
  for (const one of card.querySelectorAll('.actions > *')) { one.setAttribute('aria-label', `${one.textContent}: ${whose}`); }
  card.querySelector('img').alt = `${t('Outline of the liver on three planes')}: ${whose}`;
}

function fill(card, job) {
  const { Content: content, State: state } = job;
  const isWaiting = 'Place' in job;
  const isRunning = state === 'Running';
  const word = content.Ending || '';
  const hasResult = state === 'Success' && Boolean(content.Result);
  const kind = isRunning ? 'running' : isWaiting ? 'waiting' : word === 'no liver found' ? 'none' : word;
  card.dataset.job = job.ID;
  card.className = `box card ${kind}${hasResult ? ' pictured' : ''}`;
  card.querySelector('.state').className = `state ${kind}`;
  say(card.querySelector('.state'), isRunning ? progressOf(job) : isWaiting ? placeOf(job) : outcomeOf(content));
  card.querySelector('progress').hidden = !isRunning;
  card.querySelector('progress').value = job.Progress;
  say(card.querySelector('.times'), timesOf(job));
  explain(card.querySelector('.reason'), state === 'Success' ? content.Report?.no_liver?.reason || '' : word === 'cancelled' ? '' : content.Reason);
  say(card.querySelector('.decision'), content.Review ? decided(content.Review) : '');
  card.querySelector('.decision').className = `decision ${content.Review?.Verdict || ''}`;
  list(card.querySelector('.warnings'), content.Report?.warnings || []);
  list(card.querySelector('.deliveries'), content.Deliveries.map(describe));
  show(card, '.next', isWaiting && job.Place > 1);
  show(card, '.cancel', isWaiting || isRunning);
  show(card, '.resubmit', ['failed', 'cancelled'].includes(word));
  show(card, '.segment', state === 'Success');
  show(card, '.deliver', hasResult && content.Deliveries.length > 0);
  picture(card, hasResult, `${LIVER}series/${content.Series}/preview?job=${job.ID}`);
}

function picture(card, isThere, address) {
  const link = card.querySelector('.preview');
  if (isThere && link.getAttribute('href') !== address) {
    link.href = address;
    link.firstElementChild.src = address;
  }
  link.hidden = !isThere;
}

function progressOf({ Content: content, Progress: percent, EffectiveRuntime: took }) {
  const left = percent > 10 ? Math.ceil(took * (100 - percent) / percent) : 0;
  const ends = left ? `, ${t('about {seconds} s left', { seconds: left })}` : '';
  return `${t('Running')}: ${t(STAGES[content.Stage] || 'beginning')}, ${percent} %${ends}`;
}

function placeOf({ Place: place, State: state }) {
  const waits = place === 1 ? t('Next') : t('{place} of {all}', { place: ordinal(place), all: waitingInAll });
  return state === 'Retry' ? `${waits}, ${t('is tried again')}` : waits;
}

function timesOf(job) {
  const ended = job.CompletionTime;
  return [
    `${t('asked for {time}', { time: when(job.CreationTime) })}`,
    ended && job.StartTime && t('took {seconds} s', { seconds: Math.max(1, Math.round(job.EffectiveRuntime)) }),
    ended && t('ended {time}', { time: when(ended) }),
  ].filter(Boolean).join(' · ');
}

// A refusal may name images by UID; people know them by number.
async function explain(element, reason) {
  if (element.dataset.reason === reason) { return; }
  element.dataset.reason = reason;
  say(element, reason);
  const numbers = new Map();
  for (const uid of new Set(reason.match(UID))) {
    const [found] = await call(`${ORTHANC}tools/lookup`, 'POST', uid).catch(() => []);
    if (found?.Type !== 'Instance') { continue; }
    const { MainDicomTags: tags } = await call(`${ORTHANC}instances/${found.ID}`);
    if (tags.InstanceNumber) { numbers.set(uid, t('image {number}', { number: tags.InstanceNumber })); }
  }
  if (numbers.size && element.dataset.reason === reason) {
    say(element, reason.replace(UID, (uid) => numbers.get(uid) || uid));
  }
}

// A button that goes takes the keyboard nowhere: whoever was on it stays at the card.
function show(card, name, visible) {
  const element = card.querySelector(name);
  if (!visible && element === document.activeElement) { card.querySelector('.explore').focus(); }
  element.hidden = !visible;
}

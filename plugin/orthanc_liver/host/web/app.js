'use strict';
const POLL_MS = 2000;
const JOB = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const pages = { waiting: 1, finished: 1 };
let waitingInAll = 0;
let asking = 0;   // how many answers are still to come
let views = 0;   // counts what a person asked to see, so that an answer to what was before is left out

const tell = (text, isWrong = false) => {
  get('message').className = isWrong ? 'wrong' : '';
  get('message').textContent = text;
  if (isWrong) { get('message').scrollIntoView({ block: 'nearest' }); }   // the form may be far below it
};

// What a person asked for; how it went is told in the one place that is read out.
function act(work) {
  tell('');
  return work().catch((error) => tell(error.message, true)).finally(refresh);
}

async function refresh() {
  const of = views;
  asking += 1;
  try {
    const [status, view] = await Promise.all([call(`${LIVER}status`), call(`${LIVER}queue?${query()}`)]);
    if (of !== views) { return; }
    viewer = status.Viewer;
    showStatus(status);
    showProblems(status, showQueue(view));
    await showPull();
  } catch (error) {
    say(get('problems'), `${t('No news from Orthanc')}: ${error.message}`);
  } finally {
    asking -= 1;
  }
}

function query() {
  const asked = { ...pages, outcome: get('outcome').value, ...(sought && { study: sought.join(',') }) };
  return new URLSearchParams(asked);
}

// Whatever an identifier is, it becomes part of addresses that a click calls.
function isSafe(job) {
  const { Series, Study } = job?.Content || {};
  return JOB.test(job?.ID) && RESOURCE.test(Series) && RESOURCE.test(Study);
}

// Returns how many jobs may not be shown.
function showQueue(view) {
  const lists = { running: view.Running, waiting: view.Waiting.Jobs, finished: view.Finished.Jobs };
  const every = Object.values(lists).flat();
  const safe = every.filter(isSafe);
  const here = new Set(safe.map((job) => job.Content.Series));
  for (const [series, card] of cards) {
    if (!here.has(series)) { card.remove(); cards.delete(series); }
  }
  waitingInAll = view.Waiting.All;
  safe.forEach(fillSafely);
  const focused = document.activeElement;   // moving a card takes the keyboard away from it
  for (const [name, jobs] of Object.entries(lists)) { place(name, jobs.filter(isSafe)); }
  if (focused !== document.activeElement && focused.isConnected) { focused.focus(); }
  const { Total: waiting } = view.Waiting;
  const { Total: finished } = view.Finished;
  say(get('waiting-head'), `${t('Waiting')} (${waiting})`);
  say(get('finished-head'), `${t('Finished')} (${finished})`);
  showArriving(view.Arriving);
  get('now').hidden = !view.Running.length && !view.Arriving.length;
  get('queue').hidden = !waiting;
  showPager('waiting', view.Waiting);
  showPager('finished', view.Finished);
  const isAll = !sought && !get('outcome').value;
  const isNew = isAll && !every.length && !view.Arriving.length;
  get('hint').hidden = !isNew;
  get('empty').hidden = Boolean(finished) || isNew;
  showCounts(view.Outcomes);
  return every.length - safe.length;
}

function showArriving(arriving) {
  const slices = arriving.reduce((sum, one) => sum + one.Slices, 0);
  const text = arriving.length === 1 ? '1 series is arriving, {slices} slices so far' : '{count} series are arriving, {slices} slices so far';
  say(get('arriving'), arriving.length ? t(text, { count: arriving.length, slices }) : '');
}

function showCounts(counts) {
  for (const option of get('outcome').options) {
    if (option.value) { option.textContent = `${t(OUTCOMES[option.value])} (${counts[option.value] || 0})`; }
  }
}

function showPager(name, { Page: page, Pages: count }) {
  const nav = get(`${name}-pages`);
  pages[name] = page;
  nav.hidden = count < 2;
  const state = `${page} ${count}`;
  if (nav.dataset.state === state) { return; }
  nav.dataset.state = state;
  const turn = (text, to) => {
    const button = Object.assign(document.createElement('button'), { className: 'second', type: 'button', textContent: t(text) });
    button.disabled = to < 1 || to > count;
    button.addEventListener('click', () => {
      pages[name] = to;
      views += 1;
      refresh().then(() => get(`${name}-head`).scrollIntoView());
    });
    return button;
  };
  const where = Object.assign(document.createElement('span'), { textContent: t('Page {page} of {count}', { page, count }) });
  nav.replaceChildren(turn('Back', page - 1), where, turn('Further', page + 1));
}

const ENGINES = { ready: 'Ready', starting: 'Starting', unavailable: 'Not available', 'stopped: settings': 'Stopped: settings' };

function showStatus(status) {
  const waiting = UNFINISHED.reduce((sum, state) => sum + status.Deliveries[state], 0);
  sayParts(get('summary'), [t(ENGINES[status.Engine]), status.Device,
    status.Automatic ? t('segments automatically what arrives') : t('segments only on request')]);
  get('by-itself').hidden = !status.Automatic;
  get('on-demand').hidden = status.Automatic;
  const rows = {
    [t('Model')]: status.Model ? `${status.Model.Name} (${status.Model.Sha256.slice(0, 12)})` : t('none yet'),
    [t('To be sent')]: waiting,
    ...(status.ArrivedWhileAway && { [t('Arrived while the plugin was away')]: status.ArrivedWhileAway }),
    [t('Version')]: status.Version,
  };
  get('status').replaceChildren(...Object.entries(rows).map(([name, value]) => {
    const row = document.createElement('div');
    row.append(Object.assign(document.createElement('dt'), { textContent: name }),
      Object.assign(document.createElement('dd'), { textContent: value }));
    return row;
  }));
  showBackfill(status.Backfill);
}

function showBackfill(old) {
  const text = '{state}: {done} of {studies} studies, {submitted} series segmented, {skipped} left as they were';
  const states = { Running: 'Running', Done: 'Done', Cancelled: 'Cancelled' };
  say(get('backfill'), old ? t(text, {
    state: t(states[old.State]), done: old.Done, studies: old.Studies, submitted: old.Submitted, skipped: old.Skipped,
  }) : t('None has been asked for.'));
  get('backfill-cancel').hidden = old?.State !== 'Running';
}

function showProblems(status, unsafe) {
  const threads = Object.entries(status.Threads).filter(([, how]) => !['running', 'not started'].includes(how));
  const ill = threads.map(([name, how]) => t('The {name} {how}.', { name, how }));
  const hidden = unsafe && t('{count} of the jobs are not shown: their identifiers are not such as Orthanc gives.', { count: unsafe });
  say(get('problems'), [...status.SettingsProblems, status.EngineProblem, ...ill, hidden].filter(Boolean).join(' '));
}

async function showWhereToSend() {
  const system = await call(`${ORTHANC}system`);
  say(get('aet'), system.DicomAet);
  say(get('host'), location.hostname);
  say(get('port'), String(system.DicomPort));
}

function lookFor() {
  Object.assign(pages, { waiting: 1, finished: 1 });
  return act(() => find().finally(() => { views += 1; }));
}

get('find').addEventListener('submit', (event) => {
  event.preventDefault();
  lookFor();
});
get('outcome').addEventListener('change', lookFor);
get('all').addEventListener('click', () => {
  get('find').reset();
  lookFor().then(() => get('wanted').focus());
});
get('backfill-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const body = { From: get('from').value.replaceAll('-', ''), To: get('to').value.replaceAll('-', '') };
  act(() => call(`${LIVER}backfill`, 'POST', JSON.stringify(body)));
});
get('backfill-cancel').addEventListener('click', () => act(() => call(`${LIVER}backfill/cancel`, 'POST')));
setInterval(() => { if (!document.hidden && !asking) { refresh(); } }, POLL_MS);   // a slow Orthanc is not asked again meanwhile
get('quality').href = `${LIVER}quality/page`;
showWhereToSend().catch(() => {});
refresh();

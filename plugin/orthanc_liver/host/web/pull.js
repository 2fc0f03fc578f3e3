// Studies of other servers: asked for, and what became of them.
async function showPull() {
  if (!get('elsewhere').open) { return; }
  const { Pull: pull, Failures: failures, AlreadyHere: here, Sources: sources } = await call(`${LIVER}pull`);
  showSources(sources);
  const states = { Running: 'Running', Done: 'Done', Cancelled: 'Cancelled' };
  const text = '{state}: {done} of {studies} studies, {failed} of them could not be fetched';
  const progress = pull ? t(text, {
    state: t(states[pull.State]), done: pull.Done, studies: pull.Studies, failed: pull.Failed,
  }) : t('None has been asked for.');
  say(get('pull'), pull?.Reason ? `${progress}. ${t('Tried again')}: ${isolated(pull.Reason)}` : progress);
  get('pull-cancel').hidden = pull?.State !== 'Running';
  const line = (one, what) => `${isolated(one.AccessionNumber || one.StudyInstanceUID)}: ${what}`;
  list(get('pull-failures'), failures.map((one) => line(one, isolated(one.Reason))));
  list(get('pull-here'), here.map((one) => line(one, t('already here, nothing new came'))));
}

function showSources(sources) {
  const names = sources.map(JSON.stringify);
  const select = get('source');
  if (select.dataset.names === JSON.stringify(names)) { return; }
  select.dataset.names = JSON.stringify(names);
  select.replaceChildren(...sources.map((source, n) => {
    const [[way, name]] = Object.entries(source);
    return Object.assign(document.createElement('option'), { value: names[n], textContent: `${name} (${way})` });
  }));
}

function fetchStudies() {
  const studies = get('studies').value.split('\n').map((line) => line.trim()).filter(Boolean);
  const body = { ...JSON.parse(get('source').value), [get('key').value]: studies };
  return call(`${LIVER}pull`, 'POST', JSON.stringify(body)).then(() => { get('studies').value = ''; });
}

get('pull-form').addEventListener('submit', (event) => {
  event.preventDefault();
  act(fetchStudies);
});
get('pull-cancel').addEventListener('click', () => act(() => call(`${LIVER}pull/cancel`, 'POST')));
get('elsewhere').addEventListener('toggle', () => act(async () => {}));

import { render } from 'preact';
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useLive } from './live';
import './console.css';
import { JobPage } from './job';
import { JobsPage } from './jobs';
import { NotificationsPage } from './notifications';
import { OverviewPage } from './overview';
import { usePlace } from './router';
import { SettingsContext } from './settings';
import type { Settings } from './types';

const NAVIGATION = [
  ['overview', 'Overview'],
  ['jobs', 'Jobs'],
  ['notifications', 'Notifications'],
] as const;

const THEMES = ['system', 'light', 'dark'];
const STORED = 'frameforge:theme';

function Theme(): JSX.Element {
  const [theme, setTheme] = useState(() => localStorage.getItem(STORED) ?? 'system');
  useEffect(() => {
    document.documentElement.dataset['theme'] = theme;
    localStorage.setItem(STORED, theme);
    dispatchEvent(new Event(STORED));
  }, [theme]);
  return (
    <label class="theme">
      <span class="hidden">Theme</span>
      <select value={theme} onChange={(event) => setTheme(event.currentTarget.value)}>
        {THEMES.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

function Console(): JSX.Element {
  const { page: asked, id, query } = usePlace();
  const page = asked === '' ? 'overview' : asked;
  const settings = useLive<Settings>('api/settings', 0);
  const title = NAVIGATION.find(([name]) => name === page)?.[1] ?? '';
  useEffect(() => {
    document.title = `${title} · FrameForge`;
  }, [title]);
  return (
    <SettingsContext.Provider value={settings.data ?? { actions: [] }}>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          // The browser would resolve the address by `<base>`, which is another page.
          event.preventDefault();
          document.getElementById('main')?.focus();
        }}
      >
        To the content
      </a>
      <header>
        <a class="brand" href="overview" data-page>
          <img src="assets/icon.svg" alt="" width="24" height="24" /> FrameForge
        </a>
        <nav aria-label="Pages">
          {NAVIGATION.map(([name, label]) => (
            <a key={name} href={name} aria-current={name === page ? 'page' : undefined} data-page>
              {label}
            </a>
          ))}
        </nav>
        <Theme />
      </header>
      <main id="main" tabIndex={-1}>
        {page === 'jobs' && id !== undefined ? (
          <JobPage id={id} />
        ) : page === 'jobs' ? (
          <JobsPage query={query} />
        ) : page === 'notifications' ? (
          <NotificationsPage query={query} />
        ) : (
          <OverviewPage />
        )}
      </main>
    </SettingsContext.Provider>
  );
}

const app = document.getElementById('app');
if (app !== null) render(<Console />, app);

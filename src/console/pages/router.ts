import { useEffect, useState } from 'preact/hooks';

/** The address of the console. It is read once, because the address of the page changes later. */
export const ROOT = new URL(document.baseURI);
document.querySelector('base')?.setAttribute('href', ROOT.href);

/** A page of the console, read from its address. */
export interface Place {
  readonly page: string;
  readonly id: string | undefined;
  readonly query: URLSearchParams;
}

function here(): Place {
  const path = location.pathname.slice(ROOT.pathname.length);
  const [page = '', id] = path.split('/').map(decodeURIComponent);
  return { page, id, query: new URLSearchParams(location.search) };
}

const CHANGED = 'frameforge:place';

/** Goes to an address below the console's own, such as `jobs?status=failed`. */
export function go(href: string, { replace = false } = {}): void {
  const url = new URL(href, ROOT);
  if (url.href === location.href) return;
  if (replace) history.replaceState(null, '', url);
  else history.pushState(null, '', url);
  dispatchEvent(new Event(CHANGED));
}

/** Follows the address. Links of the console then change the page without a reload. */
export function usePlace(): Place {
  const [place, setPlace] = useState(here);
  useEffect(() => {
    const follow = (): void => setPlace(here());
    const onClick = (event: MouseEvent): void => {
      const link = (event.target as Element).closest('a');
      const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey);
      if (link === null || !isPlain || !link.hasAttribute('data-page')) return;
      event.preventDefault();
      go(link.href);
      scrollTo(0, 0);
    };
    addEventListener('popstate', follow);
    addEventListener(CHANGED, follow);
    document.addEventListener('click', onClick);
    return () => {
      removeEventListener('popstate', follow);
      removeEventListener(CHANGED, follow);
      document.removeEventListener('click', onClick);
    };
  }, []);
  return place;
}

/** The address of a page with changed filters. It begins at the first row. */
export function withQuery(
  page: string,
  query: URLSearchParams,
  changes: Record<string, string>,
): string {
  const next = new URLSearchParams(query);
  next.delete('cursor');
  for (const [key, value] of Object.entries(changes)) {
    if (value === '') next.delete(key);
    else next.set(key, value);
  }
  const text = next.toString();
  return text === '' ? page : `${page}?${text}`;
}

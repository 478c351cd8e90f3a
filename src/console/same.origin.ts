/** The headers of a request. Node writes their names in lower case. */
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Whether a request comes from a page of the same origin. On a secure connection the browser sends a header that
 * says so, and no page can change it. Otherwise the browser sends the origin of the page, which must be this
 * host. A proxy may have replaced the name of this host.
 */
export function isSameOrigin(headers: Headers): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin';
  const { origin } = headers;
  if (typeof origin !== 'string' || !URL.canParse(origin)) return false;
  const { host } = new URL(origin);
  const forwarded = String(headers['x-forwarded-host'] ?? '').split(',');
  return [headers['host'], ...forwarded.map((name) => name.trim())].includes(host);
}

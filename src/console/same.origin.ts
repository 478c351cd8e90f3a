/** The headers of a request, with names in lower case, as Node has them. */
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Whether a request comes from a page of the same origin. Browsers say so where the connection is safe, and
 * no page can change what they say; elsewhere they name the page's origin, which must be this host's. A proxy
 * may have put another host's name in the place of that.
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

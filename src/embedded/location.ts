/**
 * The URL of this file; undefined in a bundle of CommonJS. The guardian's program and the binaries from npm are
 * searched from here, because they are not imported.
 */
export const LOCATION = import.meta.url;

/**
 * Where this folder's code is, as a URL; undefined in a bundle of CommonJS. What is not imported but run
 * or resolved (the guardian's program, the binaries from npm) is looked for from here.
 */
export const LOCATION = import.meta.url;

/**
 * Where this package's code is, as a URL: the only use of `import.meta`. What is not imported but run
 * or resolved (the guardian's program, the binaries from npm) is looked for from here.
 */
export const LOCATION = import.meta.url;

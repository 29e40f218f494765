/**
 * Keeps V8 from optimizing WebAssembly. Import it before anything else: undici compiles its HTTP parser when it is loaded.
 *
 * That parser is one function of 34 KB. Optimizing it takes V8 126 ms of a core and 42 MB at once, after the first few
 * requests; `imgfs cp` of what is there peaks at 80 MB resident instead of 113. The first compilation is fast enough:
 * bodies, all that is large here, go past the parser in whole pieces.
 */
import { setFlagsFromString } from 'node:v8';

/** Tiering up when a function has run often, and tiering up as soon as it is compiled, are two switches. */
setFlagsFromString('--no-wasm-dynamic-tiering');
setFlagsFromString('--no-wasm-tier-up');

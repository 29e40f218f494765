/**
 * Keeps V8 from optimizing WebAssembly. Import it before anything else: undici compiles its HTTP parser when it is loaded.
 *
 * That parser is one function of 34 KB. Optimizing it takes V8 126 ms of a core and 42 MB at once, after the first few
 * requests; `imgfs cp` of what is there peaks at 80 MB resident instead of 113. The first compilation is fast enough:
 * bodies, all that is large here, go past the parser in whole pieces.
 */
import { setFlagsFromString } from 'node:v8';

/** A budget, in bytes of code run, that no process uses up. */
setFlagsFromString('--wasm-tiering-budget=2000000000');

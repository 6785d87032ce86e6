#!/usr/bin/env node
// main.ts for a working tree, started 60 ms of CPU sooner: Node strips the types of the file that it is called with at
// each start; those of imported files come from the compile cache.
import { enableCompileCache } from "node:module";
import { join } from "node:path";

enableCompileCache(join(import.meta.dirname, "../../.cache/compiled"));
await import("./main.ts");

/** Loads an archive into a folder of images, in a process of its own that a test kills: `node load.fixture.ts STORE FILE`. */
import { createReadStream } from "node:fs";
import { nullLogger, systemClock } from "@starling/base";
import { defaultRegistrySettings, RegistryClient } from "@starling/registry";
import { goArchitecture } from "../describe.ts";
import { loadImages } from "./image-loader.ts";
import { ImageStore } from "./image-store.ts";
import { ImagePuller } from "./puller.ts";

const [folder = "", file = ""] = process.argv.slice(2);
const store = new ImageStore(folder);
await store.open();
const registry = new RegistryClient({ settings: defaultRegistrySettings, clock: systemClock });
const platform = { os: "linux", architecture: goArchitecture() };
const shared = { store, platform, clock: systemClock, log: nullLogger, makeRoom: async () => false };
const { layers } = new ImagePuller({ ...shared, registry });
const { signal } = new AbortController();
process.stdout.write("begins\n");
for await (const { digest } of loadImages(createReadStream(file), { ...shared, layers }, { reference: "", signal })) {
  process.stdout.write(`${digest}\n`);
}
registry.close();

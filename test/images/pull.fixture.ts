/** Pulls images into a store until all are there or it is killed: `node pull.fixture.ts STORE REFERENCE…`. */
import { nullLogger, systemClock } from "@starling/base";
import { ImagePuller, ImageStore } from "@starling/node-agent";
import { defaultRegistrySettings, RegistryClient } from "@starling/registry";

const [folder, ...references] = process.argv.slice(2);
const store = new ImageStore(folder!);
await store.open();
const registry = new RegistryClient({ settings: defaultRegistrySettings, clock: systemClock });
const platform = { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch };
const puller = new ImagePuller({ store, registry, platform, clock: systemClock, log: nullLogger });
process.stdout.write("begin\n");
const options = { registryAuth: "", signal: new AbortController().signal };
await Promise.all(references.map((reference) => puller.pull(reference, options)));
process.stdout.write(`${Math.round(process.memoryUsage.rss() / 1024)} KiB\n`);
puller.close();
registry.close();

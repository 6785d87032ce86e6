import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, type Host, until } from "../cluster/index.ts";
import { buildImages, recipesKey } from "./build.ts";
import { imagesAt, type PushedImages } from "./push.ts";

const port = 5000;

export interface Registry {
  /** host:port, the first part of image references. Plain HTTP. */
  readonly address: string;
  readonly images: PushedImages;
}

/**
 * Starts Debian's docker-registry on a host of a cluster (by custom `reg`) and fills it with the images. Its storage is
 * shared by the clusters of this machine, so only the first has to push; other images may be pushed under other names.
 */
export async function startRegistry(host: Host): Promise<Registry> {
  await buildImages();
  const config = join(host.stateFolder, "registry.yml");
  const storage = join(cacheFolder, "registry", recipesKey());
  mkdirSync(storage, { recursive: true });
  writeFileSync(config, registryConfig(storage));
  await host.daemon("registry", ["docker-registry", "serve", config]);
  const url = `http://${host.address}:${port}`;
  await until("the registry answers", async () => (await host.exec(["curl", "-sf", `${url}/v2/`])).code === 0);
  await host.mustExec([process.execPath, join(import.meta.dirname, "main.ts"), "push", url], { timeoutMs: 300_000 });
  return { address: `${host.address}:${port}`, images: await imagesAt(`${host.address}:${port}`) };
}

function registryConfig(storage: string): string {
  return JSON.stringify({
    version: 0.1,
    log: { level: "warn" },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
    http: { addr: `:${port}` },
  });
}

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@starling/base";
import { afterEach, beforeEach, expect, it } from "vitest";
import { RegistryClient } from "./client.ts";
import { digestOf } from "./digest.ts";
import { resolveImage } from "./resolve.ts";
import { defaultRegistrySettings } from "./settings.ts";

const options = { registryAuth: "", signal: new AbortController().signal };
const contents = new Map<string, string>();
let server: Server;
let client: RegistryClient;
let host: string;

beforeEach(async () => {
  contents.clear();
  server = createServer(({ url = "" }, response) => {
    const content = contents.get(url);
    response.writeHead(content === undefined ? 404 : 200).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = new RegistryClient({ settings: defaultRegistrySettings, clock: systemClock });
});
afterEach(async () => {
  client.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function serve(path: string, value: object): string {
  const text = JSON.stringify(value);
  contents.set(path, text);
  return digestOf(Buffer.from(text));
}

it("an index: its digest, and the platforms that it lists but for what is no image", async () => {
  const entry = (os: string, architecture: string, variant?: string) => ({
    digest: `sha256:${"0".repeat(64)}`,
    size: 1,
    platform: { os, architecture, ...(variant === undefined ? {} : { variant }) },
  });
  const manifests = [entry("linux", "amd64"), entry("linux", "arm", "v7"), entry("unknown", "unknown")];
  const digest = serve("/v2/box/manifests/latest", { schemaVersion: 2, manifests });
  const found = await resolveImage(client, `${host}/box`, options);
  expect(found.digest).toBe(digest);
  expect(found.platforms).toMatchObject([
    { os: "linux", architecture: "amd64" },
    { os: "linux", architecture: "arm", variant: "v7" },
  ]);
});

it("an image for one platform: what its config says", async () => {
  const config = { os: "linux", architecture: "arm64", rootfs: { diff_ids: [] } };
  const blob = digestOf(Buffer.from(JSON.stringify(config)));
  serve(`/v2/box/blobs/${blob}`, config);
  const size = JSON.stringify(config).length;
  const digest = serve("/v2/box/manifests/1", { schemaVersion: 2, config: { digest: blob, size }, layers: [] });
  const found = await resolveImage(client, `${host}/box:1`, options);
  expect(found).toMatchObject({ digest, platforms: [{ os: "linux", architecture: "arm64" }] });
});

it("what does not exist is refused by name", async () => {
  await expect(resolveImage(client, `${host}/box:2`, options)).rejects.toMatchObject({
    code: "NotFound",
    message: `No such image: ${host}/box:2`,
  });
});

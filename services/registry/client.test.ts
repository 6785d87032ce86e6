import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseImageReference } from "@starling/api";
import { systemClock } from "@starling/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RegistryClient } from "./client.ts";
import { HttpFetcher } from "./http-fetcher.ts";
import { defaultRegistrySettings, type RegistrySettings } from "./settings.ts";
import { registryTls } from "./tls.ts";

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

const servers: Server[] = [];
const slept: number[] = [];
const clock = {
  ...systemClock,
  now: () => 0,
  monotonic: () => 0,
  sleep: async (ms: number) => {
    slept.push(ms);
  },
};
const { signal } = new AbortController();
let folder: string;
let clients: RegistryClient[];
const { PATH } = process.env;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "starling-registry-"));
  clients = [];
  slept.length = 0;
});
afterEach(async () => {
  process.env["PATH"] = PATH;
  for (const client of clients) client.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  rmSync(folder, { recursive: true });
});

async function listen(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function serve(answer: Answer): Promise<string> {
  return listen(
    createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      answer(request, response, body);
    }),
  );
}

function clientWith(settings: Partial<RegistrySettings> = {}): RegistryClient {
  const client = new RegistryClient({ settings: { ...defaultRegistrySettings, ...settings }, clock });
  clients.push(client);
  return client;
}

const manifest = (client: RegistryClient, host: string, credentials?: { username: string; password: string }) =>
  client.manifest(parseImageReference(`${host}/box:1`), "1", {
    signal,
    credentials: credentials === undefined ? undefined : { ...credentials, identityToken: "" },
  });

/** A registry that wants a bearer token of its own token service; gives one for `alice:right`. */
function bearerRegistry(posts: string[] = []): Promise<string> {
  return serve((request, response, body) => {
    const { authorization, host } = request.headers;
    if (request.url?.startsWith("/token")) {
      if (request.method === "POST") posts.push(body);
      const isAlice = authorization === `Basic ${Buffer.from("alice:right").toString("base64")}`;
      if (!isAlice && request.method !== "POST") return void response.writeHead(401).end();
      return void response.end(JSON.stringify({ token: "T", expires_in: 300 }));
    }
    if (authorization === "Bearer T") return void response.end("{}");
    const challenge = `Bearer realm="http://${host}/token",service="reg",scope="repository:box:pull"`;
    response.writeHead(401, { "www-authenticate": challenge }).end();
  });
}

function installHelper(script: string): void {
  const path = join(folder, "docker-credential-test");
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  process.env["PATH"] = `${folder}:${PATH}`;
}

describe("credentials", () => {
  it("of the task are tried first, then those of the node's helper", async () => {
    installHelper(`cat > ${folder}/asked; echo '{"ServerURL":"x","Username":"alice","Secret":"right"}'`);
    const host = await bearerRegistry();
    const expired = { username: "bob", password: "expired" };
    await expect(manifest(clientWith(), host, expired)).rejects.toThrow(/pull access denied for 127.*box:1/);
    const client = clientWith({ credentialHelpers: { [host]: "test" } });
    expect((await manifest(client, host, expired)).text).toBe("{}");
    expect(readFileSync(join(folder, "asked"), "utf8")).toBe(host);
    expect((await manifest(clientWith(), host, { username: "alice", password: "right" })).text).toBe("{}");
  });

  it("may be an identity token, which goes to the token service alone", async () => {
    installHelper(`echo '{"Username":"<token>","Secret":"refresh"}'`);
    const posts: string[] = [];
    const host = await bearerRegistry(posts);
    expect((await manifest(clientWith({ credentialStore: "test" }), host)).text).toBe("{}");
    expect(Object.fromEntries(new URLSearchParams(posts[0]))).toMatchObject({
      grant_type: "refresh_token",
      refresh_token: "refresh",
      scope: "repository:box:pull",
    });
  });

  it("of a helper that has none, or is missing, are a denial and a reason to try later", async () => {
    installHelper("echo credentials not found; exit 1");
    const host = await bearerRegistry();
    await expect(manifest(clientWith({ credentialStore: "test" }), host)).rejects.toThrow(/pull access denied/);
    await expect(manifest(clientWith({ credentialStore: "absent" }), host)).rejects.toThrow(/docker-credential-absent/);
  });

  it("go to the registry, not where it redirects to", async () => {
    const seen: (string | undefined)[] = [];
    const store = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end("{}");
    });
    const host = await serve((request, response) => {
      if (request.headers.authorization === undefined && request.url !== "/v2/") {
        return void response.writeHead(401, { "www-authenticate": "Basic realm=x" }).end();
      }
      response.writeHead(307, { location: `http://${store}/blob` }).end();
    });
    await manifest(clientWith(), host, { username: "a", password: "b" });
    expect(seen).toEqual([undefined]);
    const leaving = await serve((_request, response) => {
      response.writeHead(307, { location: "file:///etc/shadow" }).end();
    });
    await expect(manifest(clientWith(), leaving)).rejects.toThrow(/redirects to file:/);
  });
});

describe("a registry", () => {
  it("is left alone for as long as it asks for", async () => {
    const refusals = [
      { status: 429, wait: "7" },
      { status: 503, wait: new Date(5_000).toUTCString() },
      { status: 502 },
    ];
    const host = await serve((request, response) => {
      const refusal = request.url === "/v2/" ? undefined : refusals.shift();
      if (refusal === undefined) return void response.end("{}");
      response.writeHead(refusal.status, refusal.wait === undefined ? {} : { "retry-after": refusal.wait }).end();
    });
    const client = clientWith();
    await expect(manifest(client, host)).rejects.toThrow(`registry ${host}: HTTP status 429, to be asked again in 7 s`);
    await expect(manifest(client, host)).rejects.toThrow(`registry ${host}: HTTP status 503, to be asked again in 5 s`);
    await expect(manifest(client, host)).rejects.toThrow(`registry ${host}: HTTP status 502`);
    expect((await manifest(client, host)).text).toBe("{}");
    expect(slept.slice(0, 2)).toEqual([7_000, 5_000]);
  });

  it("is asked when its mirrors don't have it", async () => {
    const asked: string[] = [];
    const origin = await serve((request, response) => {
      asked.push(`origin ${request.url}`);
      response.end("{}");
    });
    const mirror = await serve((request, response) => {
      asked.push(`mirror ${request.url}`);
      response.writeHead(404).end();
    });
    const client = clientWith({ mirrors: { [origin]: [`http://${mirror}`] } });
    expect((await manifest(client, origin)).text).toBe("{}");
    expect(asked).toEqual(["mirror /v2/box/manifests/1", "origin /v2/", "origin /v2/box/manifests/1"]);
  });

  it("is trusted by the CA in certs.d, not without, and by a named exception", async () => {
    const [key, cert] = [join(folder, "key"), join(folder, "cert")];
    const request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1";
    execFileSync("openssl", [...request.split(" "), "-keyout", key, "-out", cert], { stdio: "ignore" });
    const tls = { key: readFileSync(key), cert: readFileSync(cert) };
    const host = await listen(createTlsServer(tls, (_request, response) => response.end("{}")));
    const fetcher = (folders: readonly string[]) =>
      new HttpFetcher((hostPort) => ({ context: registryTls(hostPort, folders), verify: true }));
    const get = async (client: HttpFetcher) => {
      try {
        (await client.fetch(`https://${host}/v2/`, { headers: {}, signal })).resume();
      } finally {
        client.close();
      }
    };
    await expect(get(fetcher([folder]))).rejects.toThrow(/self-signed/);
    mkdirSync(join(folder, host));
    writeFileSync(join(folder, host, "ca.crt"), tls.cert);
    await get(fetcher([folder]));
    // Loopback is an exception by itself.
    expect((await manifest(clientWith({ certificateFolders: [] }), host)).text).toBe("{}");
  });
});

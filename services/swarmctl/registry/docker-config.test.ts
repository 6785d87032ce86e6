import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { eraseLogin, registryAuthOf, serverName, storeLogin } from "./docker-config.ts";

let folder: string;
const { PATH, DOCKER_CONFIG } = process.env;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "starling-docker-config-"));
  process.env["DOCKER_CONFIG"] = folder;
  process.env["PATH"] = `${folder}:${PATH}`;
});
afterEach(() => {
  process.env["PATH"] = PATH;
  if (DOCKER_CONFIG === undefined) delete process.env["DOCKER_CONFIG"];
  else process.env["DOCKER_CONFIG"] = DOCKER_CONFIG;
  rmSync(folder, { recursive: true });
});

const file = () => join(folder, "config.json");
const decoded = (image: string) => JSON.parse(Buffer.from(registryAuthOf(image), "base64url").toString()) as unknown;

it("keeps credentials as docker does, beside what else is in its file", () => {
  writeFileSync(file(), JSON.stringify({ detachKeys: "ctrl-q" }));
  expect(storeLogin("reg:5000", { username: "alice", password: "a:b" })).toBe(file());
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  expect(decoded("reg:5000/team/web:1")).toEqual({
    username: "alice",
    password: "a:b",
    identitytoken: "",
    serveraddress: "reg:5000",
  });
  expect(registryAuthOf("nginx")).toBe("");
  expect(eraseLogin("reg:5000")).toBe(true);
  expect(eraseLogin("reg:5000")).toBe(false);
  expect(JSON.parse(readFileSync(file(), "utf8"))).toEqual({ detachKeys: "ctrl-q", auths: {} });
});

it("asks the credential helper that the file names", () => {
  writeFileSync(file(), JSON.stringify({ credHelpers: { "reg:5000": "test" }, credsStore: "none" }));
  for (const [name, script] of [
    ["test", `cat > ${folder}/asked-$1; [ $1 != get ] || echo '{"Username":"<token>","Secret":"refresh"}'`],
    ["none", "exit 1"],
  ]) {
    writeFileSync(join(folder, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, `docker-credential-${name}`), 0o755);
  }
  expect(decoded("reg:5000/web")).toMatchObject({ username: "", identitytoken: "refresh" });
  expect(storeLogin("reg:5000", { username: "a", password: "b" })).toBe("docker-credential-test");
  expect(JSON.parse(readFileSync(join(folder, "asked-store"), "utf8"))).toEqual({
    ServerURL: "reg:5000",
    Username: "a",
    Secret: "b",
  });
  expect(registryAuthOf("other:5000/web")).toBe("");
});

it("refuses what is no file of docker's, no helper and no registry", () => {
  writeFileSync(file(), "{");
  expect(() => registryAuthOf("nginx")).toThrow(/config.json: not JSON/);
  writeFileSync(file(), JSON.stringify({ credsStore: "../sh" }));
  expect(() => registryAuthOf("nginx")).toThrow(/not the name of a credential helper/);
  writeFileSync(file(), JSON.stringify({ credsStore: "absent" }));
  expect(() => registryAuthOf("nginx")).toThrow(/docker-credential-absent/);
  expect(["", "docker.io", "https://reg:5000/v2/"].map(serverName)).toEqual([
    "https://index.docker.io/v1/",
    "https://index.docker.io/v1/",
    "reg:5000",
  ]);
  expect(() => serverName("a b")).toThrow(/give HOST or HOST:PORT/);
});

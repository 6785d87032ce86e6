import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { parseImageReference } from "@starling/api";
import { UsageError } from "../usage-error.ts";

/** Credentials for one registry, as `X-Registry-Auth` carries them. */
export interface RegistryLogin {
  readonly username: string;
  readonly password: string;
  /** An OAuth2 refresh token instead of a password. */
  readonly identitytoken: string;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, { readonly auth?: string; readonly identitytoken?: string }>>;
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly credsStore?: string;
}

/** Docker Hub's name among credentials. */
const hubServer = "https://index.docker.io/v1/";

/** Docker's own: `$DOCKER_CONFIG/config.json`, by default in ~/.docker. */
export function dockerConfigPath(): string {
  return join(process.env["DOCKER_CONFIG"] || join(homedir(), ".docker"), "config.json");
}

/** The name under which credentials of a registry are kept. */
export function serverName(registry: string): string {
  const plain = registry.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  if (["", "docker.io", "index.docker.io", "registry-1.docker.io"].includes(plain)) return hubServer;
  if (!/^[A-Za-z0-9.-]+(:\d+)?$|^\[[0-9a-fA-F:]+\](:\d+)?$/.test(plain)) {
    throw new UsageError(`registry ${JSON.stringify(registry)}: give HOST or HOST:PORT`);
  }
  return plain;
}

/** `X-Registry-Auth` for the registry of `image`: base64 of JSON; empty without credentials for it. Throws UsageError. */
export function registryAuthOf(image: string): string {
  const server = serverName(parseImageReference(image).domain);
  const login = findLogin(server);
  if (login === undefined) return "";
  return Buffer.from(JSON.stringify({ ...login, serveraddress: server })).toString("base64url");
}

function findLogin(server: string): RegistryLogin | undefined {
  const config = readConfig();
  const helper = config.credHelpers?.[server] ?? config.credsStore;
  if (helper) {
    const found = runHelper(helper, "get", server);
    if (found === undefined) return undefined;
    const { Username = "", Secret = "" } = parseJson(found, `docker-credential-${helper}`) as Record<string, string>;
    return Username === "<token>"
      ? { username: "", password: "", identitytoken: Secret }
      : { username: Username, password: Secret, identitytoken: "" };
  }
  const entry = config.auths?.[server] ?? config.auths?.[`https://${server}`];
  if (entry === undefined) return undefined;
  const pair = Buffer.from(entry.auth ?? "", "base64").toString();
  const colon = pair.indexOf(":");
  const [username, password] = colon < 0 ? [pair, ""] : [pair.slice(0, colon), pair.slice(colon + 1)];
  return { username, password, identitytoken: entry.identitytoken ?? "" };
}

/** Keeps credentials, with the configured helper if there is one, else in the file, which only its owner may read. */
export function storeLogin(server: string, login: { readonly username: string; readonly password: string }): string {
  const config = readConfig();
  const helper = config.credHelpers?.[server] ?? config.credsStore;
  if (helper) {
    const text = JSON.stringify({ ServerURL: server, Username: login.username, Secret: login.password });
    if (runHelper(helper, "store", text) === undefined) {
      throw new UsageError(`docker-credential-${helper} did not keep the credentials of ${server}`);
    }
    return `docker-credential-${helper}`;
  }
  const auth = Buffer.from(`${login.username}:${login.password}`).toString("base64");
  writeConfig({ ...config, auths: { ...config.auths, [server]: { auth } } });
  return dockerConfigPath();
}

/** Drops credentials; false when there were none. */
export function eraseLogin(server: string): boolean {
  const config = readConfig();
  const helper = config.credHelpers?.[server] ?? config.credsStore;
  const erased = helper ? runHelper(helper, "erase", server) !== undefined : false;
  const { [server]: known, ...auths } = config.auths ?? {};
  if (known === undefined) return erased;
  writeConfig({ ...config, auths });
  return true;
}

function readConfig(): DockerConfig {
  const path = dockerConfigPath();
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new UsageError(`${path}: ${(error as Error).message}`);
  }
  const config = parseJson(text, path);
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new UsageError(`${path}: must be a JSON object`);
  }
  return config;
}

/** Other members of the file stay as they are. */
function writeConfig(config: DockerConfig): void {
  const path = dockerConfigPath();
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(config, undefined, "\t")}\n`, { mode: 0o600 });
  renameSync(temporary, path);
}

/** What the helper printed; undefined when it has, or takes, nothing. Throws UsageError when it can't be run. */
function runHelper(name: string, verb: "get" | "store" | "erase", input: string): string | undefined {
  const program = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name))
    throw new UsageError(`${program}: not the name of a credential helper`);
  const { status, stdout, error } = spawnSync(program, [verb], { input, encoding: "utf8", timeout: 30_000 });
  // EPIPE: it ended without reading; its status says the rest.
  if (error !== undefined && (error as NodeJS.ErrnoException).code !== "EPIPE") {
    throw new UsageError(`${program}: ${error.message}`);
  }
  return status === 0 ? stdout : undefined;
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${what}: not JSON: ${(error as Error).message}`);
  }
}

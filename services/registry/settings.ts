/** Pure: no clock, no I/O, no randomness. */

import { cidrContains, parseAddress, parseCidr } from "@starling/api";
import { SwarmError } from "@starling/base/errors";

/** How this node speaks to registries. */
export interface RegistrySettings {
  /** Hosts, `host:port` or CIDRs that may be spoken to without a verified certificate, or without TLS. Loopback always may. */
  readonly insecureRegistries: readonly string[];
  /** Base URLs asked before a registry itself, by its name (`docker.io`, `10.0.0.2:5000`). */
  readonly mirrors: Readonly<Record<string, readonly string[]>>;
  /** NAME of `docker-credential-NAME` by registry. */
  readonly credentialHelpers: Readonly<Record<string, string>>;
  /** NAME for all other registries; empty: none. */
  readonly credentialStore: string;
  /** Folders of folders named by `host:port`: *.crt are CAs, *.cert with *.key what this node shows of itself. */
  readonly certificateFolders: readonly string[];
}

export const defaultRegistrySettings: RegistrySettings = {
  insecureRegistries: [],
  mirrors: {},
  credentialHelpers: {},
  credentialStore: "",
  certificateFolders: ["/etc/starling/certs.d", "/etc/docker/certs.d"],
};

const loopback = ["127.0.0.0/8", "::1/128", "localhost"];
const helperPattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * The registry part of swarmd's configuration file, JSON with the names of Docker's daemon.json (`insecure-registries`,
 * `registry-mirrors`) and config.json (`credHelpers`, `credsStore`), and `mirrors` for other registries than docker.io. Throws
 * InvalidArgument naming file, key, value and remedy.
 */
export function parseRegistrySettings(text: string, path: string): RegistrySettings {
  const refuse = (key: string, value: unknown, remedy: string): never => {
    throw new SwarmError("InvalidArgument", `${path}: ${key} ${JSON.stringify(value)}: ${remedy}`);
  };
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new SwarmError("InvalidArgument", `${path}: not JSON: ${(error as Error).message}`);
  }
  if (!isObject(file)) throw new SwarmError("InvalidArgument", `${path}: must be a JSON object`);
  const known = ["insecure-registries", "registry-mirrors", "mirrors", "credHelpers", "credsStore"];
  for (const key of Object.keys(file)) {
    if (!known.includes(key)) refuse(key, file[key], `not known; known are ${known.join(", ")}`);
  }
  const strings = (key: string, value: unknown): readonly string[] =>
    Array.isArray(value) && value.every((item) => typeof item === "string")
      ? (value as string[])
      : refuse(key, value, "give a list of strings");
  const urls = (key: string, value: unknown): readonly string[] =>
    strings(key, value).map((url) =>
      /^https?:\/\/[^/?#@]+\/?$/.test(url) ? url.replace(/\/$/, "") : refuse(key, url, "give http(s)://HOST[:PORT]"),
    );
  const object = (key: string): Record<string, unknown> => {
    const value = file[key] ?? {};
    return isObject(value) ? value : refuse(key, value, "give an object whose keys are registries");
  };
  const helper = (key: string, value: unknown): string =>
    typeof value === "string" && helperPattern.test(value)
      ? value
      : refuse(key, value, "give NAME of a program docker-credential-NAME");
  return {
    ...defaultRegistrySettings,
    insecureRegistries: strings("insecure-registries", file["insecure-registries"] ?? []),
    mirrors: Object.fromEntries([
      ...Object.entries(object("mirrors")).map(([registry, value]) => [registry, urls("mirrors", value)]),
      ...(file["registry-mirrors"] === undefined
        ? []
        : [["docker.io", urls("registry-mirrors", file["registry-mirrors"])]]),
    ]) as Record<string, readonly string[]>,
    credentialHelpers: Object.fromEntries(
      Object.entries(object("credHelpers")).map(([registry, value]) => [registry, helper("credHelpers", value)]),
    ),
    credentialStore: file["credsStore"] === undefined ? "" : helper("credsStore", file["credsStore"]),
  };
}

/** Whether `host[:port]` may be spoken to without a verified certificate. */
export function isInsecure(hostPort: string, settings: RegistrySettings): boolean {
  const host = hostPort.startsWith("[") ? hostPort.slice(1, hostPort.indexOf("]")) : hostPort.replace(/:\d+$/, "");
  const address = parseAddress(host);
  return [...loopback, ...settings.insecureRegistries].some((entry) => {
    if (entry === hostPort || entry === host) return true;
    const cidr = entry.includes("/") ? parseCidr(entry) : undefined;
    return cidr !== undefined && address !== undefined && cidrContains(cidr, address);
  });
}

/** The program that knows credentials for a registry; undefined when none is configured. */
export function credentialHelperOf(registry: string, settings: RegistrySettings): string | undefined {
  return (settings.credentialHelpers[registry] ?? settings.credentialStore) || undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

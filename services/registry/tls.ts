import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";
import { SwarmError } from "@starling/base";

/** Where distributions keep the certificates that a host trusts; the first that exists counts. */
const hostBundles = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/**
 * Whom to trust as `hostPort`, and what to show it: the host's CAs, with the *.crt of `<folder>/<host:port>/` besides, and
 * the client certificate there (NAME.cert with NAME.key). Throws Unavailable naming an unreadable file.
 */
export function registryTls(hostPort: string, folders: readonly string[]): SecureContext {
  const authorities: string[] = [hostAuthorities()];
  const own: { cert: string[]; key: string[] } = { cert: [], key: [] };
  for (const folder of folders.map((each) => join(each, hostPort))) {
    const names = listed(folder);
    for (const name of names.filter((each) => each.endsWith(".crt"))) authorities.push(read(join(folder, name)));
    for (const name of names.filter((each) => each.endsWith(".cert"))) {
      own.cert.push(read(join(folder, name)));
      own.key.push(read(join(folder, name.replace(/\.cert$/, ".key"))));
    }
  }
  try {
    return createSecureContext({ ca: authorities, ...(own.cert.length > 0 ? own : {}) });
  } catch (error) {
    const where = folders.map((each) => join(each, hostPort)).join(" or ");
    throw new SwarmError("Unavailable", `registry ${hostPort}: certificates in ${where}: ${(error as Error).message}`);
  }
}

let authoritiesOfHost: string | undefined;

function hostAuthorities(): string {
  authoritiesOfHost ??= (() => {
    for (const path of hostBundles) {
      try {
        return readFileSync(path, "utf8");
      } catch {
        // Another distribution's place.
      }
    }
    return rootCertificates.join("\n");
  })();
  return authoritiesOfHost;
}

function listed(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new SwarmError("Unavailable", `registry certificates: ${(error as Error).message}`);
  }
}

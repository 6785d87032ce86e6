import { execFile } from "node:child_process";
import { type Millis, SwarmError } from "@starling/base";

export interface RegistryCredentials {
  readonly username: string;
  readonly password: string;
  /** An OAuth2 refresh token instead of a password. */
  readonly identityToken: string;
}

const helperTimeoutMs: Millis = 30_000;
/** Docker Hub's name among credentials. */
const hubServer = "https://index.docker.io/v1/";

/** Docker's `X-Registry-Auth`: base64 of JSON. Empty or unreadable text: no credentials. */
export function parseRegistryAuth(encoded: string): RegistryCredentials | undefined {
  if (encoded === "") return undefined;
  try {
    const value = JSON.parse(Buffer.from(encoded, "base64url").toString()) as Record<string, unknown>;
    const text = (name: string) => (typeof value[name] === "string" ? value[name] : "");
    let [username, password] = [text("username"), text("password")];
    if (username === "" && text("auth") !== "") {
      const pair = Buffer.from(text("auth"), "base64").toString();
      [username, password] = [pair.slice(0, pair.indexOf(":")), pair.slice(pair.indexOf(":") + 1)];
    }
    return { username, password, identityToken: text("identitytoken") };
  } catch {
    return undefined;
  }
}

/**
 * Asks `docker-credential-NAME get`, which is found on swarmd's PATH, for credentials of a registry; undefined when it has none.
 * Throws Unavailable when it cannot be run.
 */
export function askCredentialHelper(name: string, registry: string): Promise<RegistryCredentials | undefined> {
  const server = registry === "docker.io" ? hubServer : registry;
  return new Promise((resolve, reject) => {
    const program = `docker-credential-${name}`;
    const child = execFile(program, ["get"], { timeout: helperTimeoutMs, maxBuffer: 1 << 20 }, (error, stdout) => {
      if (error !== null && typeof error.code !== "number") {
        reject(new SwarmError("Unavailable", `${program}: ${error.message.split("\n")[0]}`));
        return;
      }
      // It says "credentials not found" with a status other than 0.
      if (error !== null) return resolve(undefined);
      try {
        const { Username = "", Secret = "" } = JSON.parse(stdout) as { Username?: string; Secret?: string };
        const isToken = Username === "<token>";
        resolve({
          username: isToken ? "" : Username,
          password: isToken ? "" : Secret,
          identityToken: isToken ? Secret : "",
        });
      } catch {
        reject(new SwarmError("Unavailable", `${program}: its answer is not JSON`));
      }
    });
    // A helper that ends without reading breaks the pipe; its status says why.
    child.stdin?.on("error", () => {});
    child.stdin?.end(server);
  });
}

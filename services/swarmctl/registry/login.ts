import type { Command } from "../command.ts";
import { UsageError } from "../usage-error.ts";
import { eraseLogin, serverName, storeLogin } from "./docker-config.ts";

interface LoginFlags {
  readonly username?: string;
}

export const login: Command<LoginFlags> = {
  arguments: "[server]",
  flags: [{ flags: "-u, --username <name>", help: "User at the registry" }],
  notes: `The password is asked for, or read from standard input: swarmctl registry login -u NAME SERVER <password-file
Without SERVER: Docker Hub. Kept where docker keeps it (~/.docker/config.json, or a credential helper named there) for
\`service create --with-registry-auth\`; the registry is asked at the first pull only.`,
  async run({ err, readSecret }, [server], { username }) {
    const name = serverName(server ?? "");
    if (username === undefined || username === "" || username.includes(":")) {
      throw new UsageError("--username: give the user's name at the registry, without a colon");
    }
    const password = await readSecret("Password: ");
    if (password === "") throw new UsageError("the password is empty: give it on standard input");
    err(`Credentials of ${username} for ${name} kept in ${storeLogin(name, { username, password })}\n`);
  },
};

export const logout: Command<Record<never, never>> = {
  arguments: "[server]",
  flags: [],
  notes: "Without SERVER: Docker Hub.",
  async run({ err }, [server]) {
    const name = serverName(server ?? "");
    err(eraseLogin(name) ? `Removed credentials for ${name}\n` : `No credentials for ${name}\n`);
  },
};

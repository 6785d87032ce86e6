import { readFile } from "node:fs/promises";
import { SwarmError } from "@starling/base";
import { defaultRegistrySettings, parseRegistrySettings, type RegistrySettings } from "@starling/registry";
import type { NodeOptions } from "./flags.ts";

const defaultConfigFile = "/etc/starling/swarmd.json";

/** How registries are spoken to: the configuration file's word, and the flags'. Throws InvalidArgument in the user's words. */
export async function readRegistrySettings(options: NodeOptions): Promise<RegistrySettings> {
  const path = options.configFile ?? defaultConfigFile;
  let settings = defaultRegistrySettings;
  try {
    settings = parseRegistrySettings(await readFile(path, "utf8"), path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || error instanceof SwarmError) throw error;
    if (code !== "ENOENT" || options.configFile !== undefined) {
      throw new SwarmError("InvalidArgument", `--config-file ${JSON.stringify(path)}: ${(error as Error).message}`);
    }
  }
  return { ...settings, insecureRegistries: [...settings.insecureRegistries, ...options.insecureRegistries] };
}

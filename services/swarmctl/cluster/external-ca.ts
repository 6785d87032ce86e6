import { readFileSync } from "node:fs";
import { ExternalCA, ExternalCA_CAProtocol } from "@starling/api";
import type { FlagDefinition } from "../command.ts";
import { choose, parsePairs, splitCommas } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";

export const externalCaFlag: FlagDefinition = {
  flags: "--external-ca <spec>",
  help: "Signing endpoint: protocol=cfssl,url=https://…[,cacert=FILE]",
  parse: parseExternalCa,
  list: true,
};

/** `cacert` names a file: the root that the endpoint signs for, the cluster's present one unless told. */
export function parseExternalCa(text: string): ExternalCA {
  const { protocol = "cfssl", url = "", cacert, ...options } = parsePairs(splitCommas(text));
  if (url === "") throw new UsageError(`"${text}" is not an external CA: url=https://… is missing`);
  return ExternalCA.create({
    protocol: choose({ cfssl: ExternalCA_CAProtocol.CFSSL })(protocol),
    url,
    options,
    ...(cacert !== undefined && { caCert: readPem(cacert) }),
  });
}

/** A file with PEM in it. Throws UsageError naming it. */
export function readPem(path: string): Uint8Array {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (thrown) {
    throw new UsageError(`${path}: ${(thrown as Error).message}`);
  }
  if (!content.includes("-----BEGIN ")) throw new UsageError(`${path} holds no PEM: give a file in PEM form`);
  return content;
}

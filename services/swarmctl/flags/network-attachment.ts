/** Pure: no clock, no I/O, no randomness. */

import { NetworkAttachmentConfig, parseAddress } from "@starling/api";
import { UsageError } from "../usage-error.ts";
import { splitCommas } from "./values.ts";

/** `NETWORK`, or `name=NETWORK,alias=NAME,ip=ADDRESS,driver-opt=k=v`. The target is what the user wrote, not yet an id. */
export function parseNetworkAttachment(text: string): NetworkAttachmentConfig {
  if (!text.includes("=")) return NetworkAttachmentConfig.create({ target: text });
  let target = "";
  const aliases: string[] = [];
  const addresses: string[] = [];
  const driverAttachmentOpts: Record<string, string> = {};
  for (const part of splitCommas(text)) {
    const [key = "", value = "", option = ""] = part.split("=");
    if (key === "name") target = value;
    else if (key === "alias") aliases.push(value);
    else if (key === "ip") addresses.push(ipv4(value));
    else if (key === "driver-opt") driverAttachmentOpts[value] = option;
    else throw new UsageError(`"${text}" is not a network: "${part}" is not one of name=, alias=, ip=, driver-opt=`);
  }
  if (target === "") throw new UsageError(`"${text}" is not a network: name=NETWORK is missing`);
  return NetworkAttachmentConfig.create({ target, aliases, addresses, driverAttachmentOpts });
}

function ipv4(text: string): string {
  if (parseAddress(text)?.bits === 32) return text;
  throw new UsageError(`ip="${text}" is not an IPv4 address: write it as in 10.1.0.50`);
}

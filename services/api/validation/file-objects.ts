/** Pure: no clock, no I/O, no randomness. */

import type { ConfigSpec, Driver, SecretSpec } from "../gen/messages.js";
import { validateFileObjectAnnotations } from "./annotations.ts";
import { refuse, required } from "./refuse.ts";

/** Bytes; the data must be smaller. */
export const secretBytesMax = 500 * 1024;
/** Bytes; the data must be smaller. */
export const configBytesMax = 1000 * 1024;

/** A secret has data, or a driver that gives it. */
export function validateSecretSpec(spec: SecretSpec | undefined): SecretSpec {
  const secret = required(spec, "secret spec");
  validateFileObjectAnnotations(secret.annotations);
  if (secret.driver) {
    if (secret.driver.name === "") refuse("secret driver must have a name");
    return secret;
  }
  validateData("secret", secret.data, secretBytesMax);
  validateTemplating("secret", secret.templating);
  return secret;
}

export function validateConfigSpec(spec: ConfigSpec | undefined): ConfigSpec {
  const config = required(spec, "config spec");
  validateFileObjectAnnotations(config.annotations);
  validateData("config", config.data, configBytesMax);
  validateTemplating("config", config.templating);
  return config;
}

function validateTemplating(noun: string, templating: Driver | undefined): void {
  if (templating === undefined || templating.name === "golang") return;
  refuse(`${noun} templating "${templating.name}" is unknown: use golang`);
}

function validateData(noun: string, data: Uint8Array, limit: number): void {
  if (data.length === 0 || data.length >= limit) {
    refuse(`${noun} data must be larger than 0 and less than ${limit} bytes: it has ${data.length}`);
  }
}

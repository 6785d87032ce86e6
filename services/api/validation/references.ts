/** Pure: no clock, no I/O, no randomness. */

import type { ContainerSpec, FileTarget, SecretReference } from "../gen/messages.js";
import { refuse } from "./refuse.ts";

export function validateSecretReferences(secrets: readonly SecretReference[]): void {
  const targets = new Targets("secret");
  for (const { secretId, secretName, file } of secrets) {
    if (secretId === "" || secretName === "") refuse("malformed secret reference: id and name must both be provided");
    if (!file) refuse(`malformed secret reference, no target provided for '${secretName}'`);
    targets.add(file, secretName);
  }
}

/** Also checks that a credential spec's config is among the references, as one without a file. */
export function validateConfigReferences(container: ContainerSpec): void {
  const targets = new Targets("config");
  for (const { configId, configName, file, runtime } of container.configs) {
    if (configId === "" || configName === "") refuse("malformed config reference: id and name must both be provided");
    if (!file && !runtime) refuse(`malformed config reference, no target provided for '${configName}'`);
    if (file) targets.add(file, configName);
  }
  const credential = container.privileges?.credentialSpec?.config;
  if (credential && !container.configs.some(({ configId, runtime }) => runtime && configId === credential)) {
    refuse(
      `CredentialSpec references config '${credential}', but that config isn't in config references with RuntimeTarget`,
    );
  }
}

/** File names within one container: two objects can't share one. */
class Targets {
  readonly #noun: string;
  readonly #ownerByFile = new Map<string, string>();

  constructor(noun: string) {
    this.#noun = noun;
  }

  add(file: FileTarget, owner: string): void {
    if (file.name === "") {
      refuse(`malformed file ${this.#noun} reference, invalid target file name provided for '${owner}'`);
    }
    const other = this.#ownerByFile.get(file.name);
    if (other !== undefined) {
      refuse(`${this.#noun} references '${other}' and '${owner}' have a conflicting target: '${file.name}'`);
    }
    this.#ownerByFile.set(file.name, owner);
  }
}

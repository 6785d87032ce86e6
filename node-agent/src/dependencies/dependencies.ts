import type { Config, Secret } from "@starling/api";

/** The secrets and configs that managers assigned to this node. In memory only: nothing secret reaches its disk. */
export class Dependencies {
  readonly #secrets = new Map<string, Secret>();
  readonly #configs = new Map<string, Config>();

  setSecret(secret: Secret): void {
    this.#secrets.set(secret.id, secret);
  }

  removeSecret(id: string): void {
    this.#secrets.delete(id);
  }

  setConfig(config: Config): void {
    this.#configs.set(config.id, config);
  }

  removeConfig(id: string): void {
    this.#configs.delete(id);
  }

  secret(id: string): Secret | undefined {
    return this.#secrets.get(id);
  }

  config(id: string): Config | undefined {
    return this.#configs.get(id);
  }
}

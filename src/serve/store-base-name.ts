import { NixFormatError } from '../nix/format-error.ts';
import { DEFAULT_STORE_DIR, storePathFromBaseName } from '../nix/store-path.ts';

/** Whether a text is what comes after the store folder in a store path: `<32>-name`. */
export function isStoreBaseName(text: string): boolean {
  try {
    storePathFromBaseName(text, DEFAULT_STORE_DIR);
    return true;
  } catch (error) {
    if (error instanceof NixFormatError) return false;
    throw error;
  }
}

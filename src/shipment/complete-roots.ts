import { formatCount } from '../base/amounts.ts';

/** `1 of 2 roots are complete`. */
export function completeRootsInWords(roots: readonly { readonly complete: boolean }[]): string {
  const complete = roots.filter((root) => root.complete).length;
  return `${complete} of ${formatCount(roots.length, 'root')} ${roots.length === 1 ? 'is' : 'are'} complete`;
}

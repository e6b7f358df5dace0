/** The media that `--medium` knows by name, with what a disc of the kind holds; undefined for those that are one folder. */
export const MEDIA: ReadonlyMap<string, number | undefined> = new Map([
  // The smallest of each kind on sale, less what drives need between tracks.
  ['cd', 730_000_000],
  ['dvd', 4_690_000_000],
  ['dvd-dl', 8_500_000_000],
  // With the spare area that drives set aside when they format a disc.
  ['bd25', 24_200_000_000],
  ['bd50', 48_400_000_000],
  // Every volume is small enough for it, and a stick holds many.
  ['fat32', undefined],
]);

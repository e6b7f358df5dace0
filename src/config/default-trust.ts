// What a fresh Nixferry talks to and trusts when nobody said otherwise: exactly what a fresh Nix does.

export const DEFAULT_UPSTREAM = 'https://cache.nixos.org';
export const DEFAULT_TRUSTED_PUBLIC_KEY = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=';

// The packages that the quickstart carries: small, but with references such as real software has.

/** The last one's program works only when everything it refers to came along. */
export const PACKAGES_EXPRESSION = `
let
  make = name: script: extra: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-euc" script ];
  } // extra);

  words = make "ferry-words-1.0" ''
    mkdir -p $out/share
    printf 'Hello from the other side of the air gap.\\n' > $out/share/greeting
    printf 'Everything below came with me:\\n' > $out/share/luggage
  '' { };

  manual = make "ferry-manual-1.0" ''
    mkdir -p $out/share/doc
    seq 1 20000 > $out/share/doc/numbers
  '' { };

  library = make "ferry-library-1.0" ''
    mkdir -p $out/lib
    printf 'greet() { cat %s/share/greeting %s/share/luggage; }\\n' $words $words > $out/lib/greet.sh
  '' { inherit words; };

  hello = make "ferry-hello-1.0" ''
    mkdir -p $out/bin
    printf '#!/bin/sh\\n. %s/lib/greet.sh\\ngreet\\nprintf "  %%s\\\\n" %s %s %s\\n' $library $words $library $manual > $out/bin/hello
    chmod +x $out/bin/hello
  '' { inherit words manual library; };
in [ words manual library hello ]
`;

// Evaluating a root finds all that evaluating it needs: with the Nix of this machine.

import { evaluationSuite } from './support/evaluation-suite.ts';

evaluationSuite('the Nix of this machine', async () => undefined);

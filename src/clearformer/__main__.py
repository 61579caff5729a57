"""`python -m clearformer` is the command `clearformer`."""

import sys

from clearformer.cli.main import main

sys.exit(main())

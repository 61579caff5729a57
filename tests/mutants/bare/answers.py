"""Which first lines are true answers, by what is wrong. Checks are renamed here and nowhere else.

A pattern is the id of a check, with * for anything; after a colon the cause, where others would be untrue.
"""

FUTURE = ("masks.future", "masks.gradient")
FINITE_MASK = ("masks.scaled", "masks.gradient")
PAST = ("masks.past", "masks.both-sides")
OWN_MASKS = ("masks.*",)
EMPTY_ROW = ("masks.empty-row", "numbers.finite")

ROWS = ("batches.independent", "batches.permuted")
ROWS_IN_TRAINING = ("batches.*",)
RIGHT_PADDING = ("batches.right-padding", "batches.padding-unseen")
LEFT_PADDING = ("batches.left-padding", "batches.padding-unseen")
PADDING = ("batches.*padding*",)

ORDER = ("order.matters", "order.positions")
POSITIONS = ("order.positions", "order.matters")
ROTARY = ("order.rotary",)
DROWNED = ("order.*", "parameters.initial*", "parameters.drowned")
UNUSED_ARGUMENT = ("arguments.*", "order.segments", "*.unused-argument")

CACHE = ("cache.*",)
GENERATE = ("generation.*", "ways.generate*")
INFERENCE = ("ways.*", "generation.*", "inference.*")

INITIAL_LOSS = ("parameters.initial-loss",)
INITIAL_GRADIENTS = ("parameters.gradients", "parameters.initial*", "parameters.heads", "parameters.start:stuck")
GRADIENTS = ("parameters.gradients",)
REGISTERED = ("parameters.registered",)
HEADS = ("parameters.heads",)
TIED = ("parameters.tied",)
OPTIMIZER = ("parameters.optimizer*", "ways.optimizer*")

LOSS = ("loss.*",)
LOSS_SHIFT = ("loss.shift",)
LOSS_PADDING = ("loss.padding", "loss.shift:padding-counted", "loss.binary:padding-counted")
LOSS_MEAN = ("loss.accumulation", "loss.padding", "loss.shift")
LOSS_MASKED = ("loss.masked-positions", "loss.shift")
SMOOTHING = ("loss.smoothing", "loss.shift")

DROPOUT = ("learning.dropout",)
LEARNING = ("learning.one-batch", "learning.reversing", "learning.induction")
RESIDUAL = ("structure.residual*", "numbers.residual*", "*.residual*", "*:*residual*")
ACTIVATION = ("structure.activation*", "*.activation*", "*:*linear*")
NORM = ("numbers.norm*", "structure.norm*", "parameters.gradients:unused")

SAVED = ("state.saved", "state.complete")
UNCHANGED = ("state.unchanged",)
INPUT = ("state.input*", "state.unchanged", "*:*in-place*")
REPEATABLE = ("state.repeatable*", "state.seeded", "learning.dropout", "*:not-repeatable")

SOURCE = ("encoder-decoder.source",)
SOURCE_PADDING = ("encoder-decoder.source-padding",)
ENCODER = ("encoder-decoder.encoder",)

FINITE = ("numbers.finite",)
PRECISION = ("numbers.float64", "numbers.half*")
HALF = ("numbers.half*", "numbers.large*", "numbers.float64")
LARGE = ("numbers.large",)
EPSILON = ("numbers.epsilon*", "numbers.norm*", "*:*epsilon*")
SCALE = ("numbers.scale",)
SOFTMAX = ("numbers.softmax",)

/* Other checkpoints of the run that is open: the same engine and vocabulary with other weights. */

/** The session of checkpoint `id`, whose `weights` are given once. */
export function checkpointOf(session, { id, weights }) {
    const checkpoints = (session.checkpoints ??= new Map());
    if (weights && !checkpoints.has(id)) {
        const { engine, config, vocabulary } = session;
        checkpoints.set(id, { engine, config, vocabulary, model: engine.load(weights, config) });
    }
    return checkpoints.get(id);
}

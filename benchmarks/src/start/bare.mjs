// What Node itself takes: the same line without a library.
process.stdout.write(`${JSON.stringify({ check: null, details: `Node ${process.versions.node}` })}\n`);

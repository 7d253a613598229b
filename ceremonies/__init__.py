"""Key ceremonies: reviewed plans, the engine that walks people through them, transcripts, reports."""

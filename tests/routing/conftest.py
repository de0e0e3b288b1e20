from support.no_chatterbox import no_chatterbox

__all__ = ["no_chatterbox"]

"""The settings of a training method in conf/method, for memory estimates without composed settings."""

from pathlib import Path

from pydantic import ValidationError

import steadyphi
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.settings.groups import Lora
from steadyphi.settings.values import explain, validate


def lora_settings(method: str) -> Lora | str:
    """Return the settings of the method "lora" or "qlora", or one line with the reason why there are none.

    They are read from conf/method in the current folder, or else from that of this repository.
    """
    repository = Path(steadyphi.__file__).parents[1]
    paths = [root / "conf" / "method" / f"{method}.yaml" for root in (Path.cwd(), repository)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return f"not estimated: there is no {' and no '.join(map(str, dict.fromkeys(paths)))}"
    try:
        settings: Lora = validate(read_object(path), Lora)
        return settings
    except ValidationError as error:
        return f"{path}: {explain(error.errors()[0])}"
    except SteadyPhiError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"

"""The lecture's network in Keras 3, as its own MNIST example writes it. KERAS_BACKEND chooses tensorflow or jax.

    python lecture_keras.py --data mnist.npz [--precision bfloat16]
    python lecture_keras.py --data mnist.npz --until 0.9893      the notebook's run, to the first such epoch

With --until the script loads, trains, and judges after every epoch, as the notebook does.
"""

from __future__ import annotations

import keras
import numpy as np
from common import BATCH_SIZE, Window, answer, arguments

MOST_EPOCHS = 40


class Stop(keras.callbacks.Callback):
    """Ends training when the window is over."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.model.stop_training = self.window.is_over_after_step()


class Until(keras.callbacks.Callback):
    """Ends training after the first epoch whose test accuracy is enough."""

    def __init__(self, accuracy: float) -> None:
        super().__init__()
        self.accuracy = accuracy
        self.epochs = 0
        self.reached = 0.0

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.epochs, self.reached = epoch + 1, float(logs["val_accuracy"])
        self.model.stop_training = self.reached >= self.accuracy


def lecture_net() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax", dtype="float32"),
        ]
    )


def main() -> None:
    options = arguments("precision", "until")
    if options.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    with np.load(options.data) as data:
        x_train, x_test = (data[name].astype("float32")[..., None] / 255 for name in ("x_train", "x_test"))
        y_train, y_test = (keras.utils.to_categorical(data[name], 10) for name in ("y_train", "y_test"))
    model = lecture_net()
    model.compile(
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adadelta(learning_rate=1.0, rho=0.95, epsilon=1e-7),
        metrics=["accuracy"],
    )
    version = f"keras {keras.__version__}, {keras.backend.backend()}"
    if options.until:
        until = Until(float(options.until))
        model.fit(
            x_train,
            y_train,
            batch_size=BATCH_SIZE,
            epochs=MOST_EPOCHS,
            verbose=0,
            validation_data=(x_test, y_test),
            callbacks=[until],
        )
        return answer({"test_accuracy": until.reached, "epochs": until.epochs, "version": version})
    window = Window(options)
    model.fit(
        x_train, y_train, batch_size=BATCH_SIZE, epochs=MOST_EPOCHS, verbose=0, callbacks=[Stop(window)]
    )
    return window.print_images_per_s(version=version)


if __name__ == "__main__":
    main()

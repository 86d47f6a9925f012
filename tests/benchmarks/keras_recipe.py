"""What a Keras user writes today, after Keras' transfer-learning guide. Nothing of tlkit's tricks.

    python keras_recipe.py resnet50|mobilenet_v2|vgg11_bn FOLDER [--augment] [--finetune]

The backbone has random weights: time does not depend on their values, and none need be fetched.
"""

import argparse

import keras

parser = argparse.ArgumentParser()
parser.add_argument("backbone")
parser.add_argument("folder")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--augment", action="store_true")
parser.add_argument("--finetune", action="store_true", help="train the last stage as well")
args = parser.parse_args()

settings = {"image_size": (224, 224), "batch_size": 32, "seed": 0, "validation_split": 0.2}
train = keras.utils.image_dataset_from_directory(args.folder, subset="training", **settings)
val = keras.utils.image_dataset_from_directory(args.folder, subset="validation", **settings)
classes = len(train.class_names)
train, val = train.prefetch(2), val.prefetch(2)

applications = {
    "resnet50": (keras.applications.ResNet50, keras.applications.resnet.preprocess_input),
    "mobilenet_v2": (
        keras.applications.MobileNetV2,
        keras.applications.mobilenet_v2.preprocess_input,
    ),
}
if args.backbone in applications:
    build, preprocess = applications[args.backbone]
    base = build(include_top=False, weights=None, input_shape=(224, 224, 3))
else:  # not in keras.applications: the user has a network of their own
    import tlkit

    base = tlkit.build_backbone(args.backbone, include_top=False)
    preprocess = keras.layers.Rescaling(1 / 255)

base.trainable = False
inputs = keras.Input((224, 224, 3))
x = inputs
if args.augment:
    x = keras.layers.RandomFlip("horizontal")(x)
    x = keras.layers.RandomRotation(5 / 360)(x)
x = base(preprocess(x), training=False)
x = keras.layers.GlobalAveragePooling2D()(x)
x = keras.layers.Dropout(0.2)(x)
model = keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))
if args.finetune:
    base.trainable = True
    for layer in base.layers:
        layer.trainable = layer.name.startswith("conv5") and "bn" not in layer.name
model.compile(
    optimizer=keras.optimizers.Adam(1e-3),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(train, validation_data=val, epochs=args.epochs, verbose=2)
